"""Claim: the service costs no more than a bare starlette handler around the same graph, and far less than its peers.

`residuum serve`, the bare handler (`benchmarks.baselines.http_handler`), and MLServer, LitServe and BentoML around the same
graph (`benchmarks.peers`) run at the same time; wrk sends requests to one after the other, over 16 connections, with 1 row of 30
numbers per request and with 64. A line is the median over the rounds of requests per second of the server's CPU time, ours /
theirs: at least 1.2 of the bare handler at 1 row and 1.0 at 64, at least 6 of each peer at 1 row and 2.5 of MLServer at 64.
Requests per second of wall time and the 99th percentile are reported too, but depend on the machine's load.

Start until the first response, and memory then, compared with a process that imports numpy, polars and onnxruntime and opens the
graph. NDJSON: CPU time of msgspec and ONNX Runtime alone over ours, at least 0.8; Arrow and raw rows: of ONNX Runtime alone, at
least 0.7. Two workers: rows per CPU second over one worker's. Overload: ten times as many connections as the queue has slots,
and the latency of one more client.

(The script is not called http.py: run by its path, that would hide Python's own `http`.)
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import numpy as np

from benchmarks.cold_start import OPEN
from benchmarks.harness import generated_rows
from benchmarks.harness.bundles import train
from benchmarks.harness.options import TINY, Options, Size, parse, unless_tiny
from benchmarks.harness.prober import probe
from benchmarks.harness.processes import RESIDUUM, ROOT, measure
from benchmarks.harness.report import Report, line
from benchmarks.peers.environments import PEERS, Peer, installed, objects

FULL, QUICK = Size(100_000, 7), Size(20_000, 3)
CONNECTIONS = 16
QUEUE = 64  # the service's own default
SECONDS = unless_tiny(3, 1)  # per run of wrk
OVERLOAD_SECONDS = unless_tiny(60, 1)
OF_BARE = {1: 1.2, 64: 1.0}
OF_PEERS = {1: dict.fromkeys(("MLServer", "LitServe", "BentoML"), 6.0), 64: {"MLServer": 2.5}}
LATENCY = 0.25  # of MLServer's
OF_LIBRARIES = {"x-ndjson": 0.8, "vnd.apache.arrow.stream": 0.7, "octet-stream": 0.7}
TWO_WORKERS = 0.9
OVERLOAD = 2.0  # times the latency at capacity
START, MEMORY = 2.0, 2.0
TICKS = os.sysconf("SC_CLK_TCK")
SCRIPT = """wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = [==[{}]==]
"""


class Server(NamedTuple):
    """A running server."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    path: str
    body: Callable[[list[dict[str, float]]], Any]

    @property
    def cpu(self) -> float:
        """CPU time so far of all its processes, in seconds."""
        return sum(_ticks(pid) for pid in _family(self.process.pid)) / TICKS

    @property
    def memory(self) -> float:
        """Peak resident memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024


class Throughput(NamedTuple):
    """The result of one run of wrk."""

    per_cpu_second: float  # requests
    per_second: float
    p99: float  # seconds


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__, FULL, QUICK)
    report = Report("service", quick=options.quick)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = train(
            generated_rows.write(folder / "normal.csv", min(options.rows, 20_000), seed=10_000), folder / "models" / "pumps"
        )
        compare_start(report, model, options)
        compare_bodies(report, model, folder, options)
        if shutil.which("wrk"):
            compare_servers(report, model, folder, options)
            measure_overload(report, model, folder, options)
        else:
            report.leave_out("requests, workers and overload: wrk is not installed")
    report.close(options.json)


def compare_servers(report: Report, model: Path, folder: Path, options: Options) -> None:
    """Compare requests to `residuum serve` with requests to the bare handler and the peers."""
    with contextlib.ExitStack() as stack:
        one_worker, two_workers = stack.enter_context(ours(model)), stack.enter_context(ours(model, "--workers", "2"))
        others = [stack.enter_context(bare(model))]
        for other in () if TINY else PEERS:
            if programs := installed(other.package):
                others.append(stack.enter_context(peer(other, programs, model, folder)))
            else:
                report.leave_out(f"{other.name}: it cannot be installed")
        for rows, target in OF_BARE.items():
            compare_requests(report, folder, (one_worker, two_workers, *others), rows, target, options.rounds)


def compare_start(report: Report, model: Path, options: Options) -> None:
    """Compare the start and the memory after it with those of a bare process."""
    times, peaks = [], []
    for _ in range(options.rounds):
        alone = measure(sys.executable, "-c", OPEN, model / "model.onnx")
        with ours(model) as server:
            times.append(server.cpu / alone.cpu)
            peaks.append(server.memory / alone.peak)
    report.add(
        line("start to the first response / imports and graph, cpu", times, at_most=START),
        line("memory after it / imports and graph", peaks, at_most=MEMORY),
    )


def compare_requests(report: Report, folder: Path, servers: tuple[Server, ...], rows: int, target: float, rounds: int) -> None:
    """Compare requests of a number of rows; `servers` starts with ours on one worker and on two workers."""
    measured = [[throughput(server, folder, rows) for server in servers] for _ in range(rounds)]
    label = f"{rows} row{'s' * (rows > 1)} per request"
    for index, server in enumerate(servers[2:], 2):
        pairs = [(turn[0], turn[index]) for turn in measured]
        at_least = target if server.name == "bare" else OF_PEERS[rows].get(server.name)
        best = [max(pair[side].per_cpu_second for pair in pairs) for side in (0, 1)]
        note = f"{best[0]:,.0f} requests per CPU second, {server.name} {best[1]:,.0f}"
        ratios = [mine.per_cpu_second / other.per_cpu_second for mine, other in pairs]
        name = f"{label}: ours / {server.name}"
        report.add(
            line(f"{name}, cpu", ratios, at_least=at_least, note=note),
            line(f"{name}, wall", [mine.per_second / other.per_second for mine, other in pairs]),
        )
        if server.name in {"bare", "MLServer"}:
            at_most = LATENCY if server.name == "MLServer" else None
            report.add(line(f"{name}, p99", [mine.p99 / other.p99 for mine, other in pairs], at_most=at_most))
    ratios = [turn[1].per_cpu_second / turn[0].per_cpu_second for turn in measured]
    report.add(line(f"{label}: two workers / one, cpu", ratios, at_least=TWO_WORKERS if rows > 1 else None))


def throughput(server: Server, folder: Path, rows: int, connections: int = CONNECTIONS, seconds: int = SECONDS) -> Throughput:
    """Run wrk against a server."""
    before = server.cpu
    printed = subprocess.run(wrk(server, folder, rows, connections, seconds), capture_output=True, text=True, check=True).stdout
    used = server.cpu - before
    if "Non-2xx" in printed:
        raise RuntimeError(f"{server.name} refuses requests:\n{printed}")
    count = int(re.findall(r"(\d+) requests in", printed)[0])
    amount, unit = re.findall(r"99%\s+([\d.]+)(us|ms|s)", printed)[0]
    p99 = float(amount) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[unit]
    return Throughput(count / max(used, 1 / TICKS), float(re.findall(r"Requests/sec:\s+([\d.]+)", printed)[0]), p99)


def wrk(server: Server, folder: Path, rows: int, connections: int, seconds: int) -> list[str]:
    """Return the command that sends a number of rows per request."""
    script = folder / f"{server.name.replace(' ', '-')}-{rows}.lua"
    script.write_text(SCRIPT.format(request_body(server, rows).decode()))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "-s", str(script)]
    return [*command, f"http://127.0.0.1:{server.port}{server.path}"]


def request_body(server: Server, rows: int) -> bytes:
    """Return a request body of a number of rows."""
    return msgspec.json.encode(server.body(generated_rows.generated(rows, seed=1).to_dicts()))


def measure_overload(report: Report, model: Path, folder: Path, options: Options) -> None:
    """Load `residuum serve` with as many connections as its queue has slots, and with ten times as many."""
    rows, seconds = 64, OVERLOAD_SECONDS if not options.quick else unless_tiny(10, 1)
    with ours(model, "--max-requests", str(20 * QUEUE)) as server:
        probed, peaks = [], []
        for connections, length in ((QUEUE, min(seconds, 20)), (10 * QUEUE, seconds)):
            load = subprocess.Popen(
                wrk(server, folder, rows, connections, length + 1), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            probed.append(probe(server.port, server.path, request_body(server, rows), length))
            load.wait()
            peaks.append(server.memory)
    at_capacity, overloaded = probed
    latencies = f"{at_capacity.p99 * 1e3:.0f} ms at {QUEUE} connections, {overloaded.p99 * 1e3:.0f} ms at {10 * QUEUE}"
    note = f"{latencies}; {overloaded.refused} refused"
    report.add(
        line(
            f"overload for {seconds} s: p99 of accepted / at capacity",
            [overloaded.p99 / at_capacity.p99],
            at_most=OVERLOAD,
            note=note,
        ),
        line("overload: peak memory / at capacity", [peaks[1] / peaks[0]], note=f"{peaks[1]:.0f} MB"),
    )


def compare_bodies(report: Report, model: Path, folder: Path, options: Options) -> None:
    """Compare whole bodies in the other formats with the libraries alone that parse and score them."""
    frame = generated_rows.generated(options.rows, seed=2)
    arrow = io.BytesIO()
    frame.write_ipc_stream(arrow)
    formats = {
        "x-ndjson": frame.write_ndjson().encode(),
        "vnd.apache.arrow.stream": arrow.getvalue(),
        "octet-stream": np.ascontiguousarray(frame.to_numpy()).tobytes(),
    }
    files = {name: folder / name for name in formats}
    for name, body in formats.items():
        files[name].write_bytes(body)
    ratios: dict[str, list[float]] = {name: [] for name in formats}
    rates: dict[str, float] = dict.fromkeys(formats, 0.0)
    with ours(model) as server:
        send(server, files["x-ndjson"], "application/x-ndjson")
        for _ in range(options.rounds):
            printed = measure(
                sys.executable, "-m", "benchmarks.baselines.libraries", model, files["x-ndjson"], files["octet-stream"]
            ).output
            lines, matrix = map(float, printed.split())
            for name, file in files.items():
                used = send(server, file, f"application/{name}")
                ratios[name].append((lines if name == "x-ndjson" else matrix) / used)
                rates[name] = max(rates[name], options.rows / used)
    for name, at_least in OF_LIBRARIES.items():
        note = f"{rates[name]:,.0f} rows per CPU second of the server; {options.rows:,} rows in one body"
        report.add(line(f"{name}: libraries alone / ours, cpu", ratios[name], at_least=at_least, note=note))


def send(server: Server, file: Path, content_type: str) -> float:
    """Send one request and return the server's CPU time."""
    before = server.cpu
    command = ["curl", "-sS", "--fail", "-o", os.devnull, "-X", "POST", "-T", str(file), "-H", f"content-type: {content_type}"]
    subprocess.run([*command, f"http://127.0.0.1:{server.port}{server.path}"], check=True)
    return max(server.cpu - before, 1 / TICKS)


@contextlib.contextmanager
def ours(model: Path, *flags: str) -> Iterator[Server]:
    """Run the service."""
    port = free_port()
    large = ["--max-body", str(2**30), "--max-rows", "10000000"]
    command = [RESIDUUM, "serve", str(model), "--port", str(port), "--log", "json", *large, *flags]
    with running("ours", command, port, f"/v1/models/{model.parent.name}/score") as server:
        yield server


@contextlib.contextmanager
def bare(model: Path) -> Iterator[Server]:
    """Run the bare handler."""
    port = free_port()
    with running(
        "bare", [sys.executable, "-m", "benchmarks.baselines.http_handler", str(model), str(port)], port, "/score"
    ) as server:
        yield server


@contextlib.contextmanager
def peer(other: Peer, programs: Path, model: Path, folder: Path) -> Iterator[Server]:
    """Run a peer."""
    port, settings = free_port(), folder / other.package
    settings.mkdir(exist_ok=True)
    command = other.command(programs, model, port, settings)
    with running(other.name, command, port, other.path, other.body, {"BUNDLE": str(model)}) as server:
        yield server


@contextlib.contextmanager
def running(
    name: str,
    command: list[str],
    port: int,
    path: str,
    body: Callable[[list[dict[str, float]]], Any] = objects,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Server]:
    """Run a server, and wait for its first response."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not is_ready(port):
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with exit code {process.returncode}")
            time.sleep(0.02)
        yield Server(name, process, port, path, body)
    finally:
        process.terminate()
        process.wait()


def is_ready(port: int) -> bool:
    """Return whether a server responds, with any status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/livez")
        connection.getresponse()
    except OSError:
        return False
    else:
        return True
    finally:
        connection.close()


def _family(pid: int) -> list[int]:
    """Return the process and its descendants."""
    with contextlib.suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
        return [pid, *(descendant for child in children for descendant in _family(child))]
    return []


def _ticks(pid: int) -> int:
    """Return the CPU time of a process in clock ticks."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    return 0


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
