"""Claim: the service costs no more than a bare starlette handler around the same graph, and far less than its peers.

`residuum serve`, the bare handler (`benchmarks._bare_service`), and MLServer, LitServe and BentoML around the same graph
(`benchmarks._peers`) are up at once; wrk asks one after the other, over 16 connections, with one row of 30 numbers a request
and with 64. A line is the median over the rounds of requests per second of the server's processor time, ours / theirs: at
least 1.2 of bare at one row and 1.0 at 64, at least 6 of each peer at one row and 2.5 of MLServer at 64. Requests per second
of wall time and the 99th percentile stand beside it; they move with whatever else the machine does.

Start until the first answer, and memory then, beside a process that imports numpy, polars and onnxruntime and opens the graph.
NDJSON: processor time of msgspec and ONNX Runtime alone over ours, at least 0.8; Arrow and raw rows: of ONNX Runtime alone, at
least 0.7. Two workers: rows per processor second over one's. Overload: ten times as many connections as the queue has places,
and what one more client sees of it.

(It is not called http.py: run as a script, that would stand in for Python's own `http`.)
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

from benchmarks import _rows
from benchmarks._child import RESIDUUM, ROOT, measure
from benchmarks._detector import train
from benchmarks._options import TINY, Options, Size, parse, unless_tiny
from benchmarks._peers import PEERS, Peer, installed, objects
from benchmarks._prober import probe
from benchmarks._report import Report, line
from benchmarks.cold_start import OPEN

FULL, QUICK = Size(100_000, 7), Size(20_000, 3)
CONNECTIONS = 16
QUEUE = 64  # the service's own default
SECONDS = unless_tiny(3, 1)  # of each of wrk's runs
PRESSED = unless_tiny(60, 1)  # seconds of overload
AT_LEAST = {1: 1.2, 64: 1.0}
OF_PEERS = {1: dict.fromkeys(("MLServer", "LitServe", "BentoML"), 6.0), 64: {"MLServer": 2.5}}
LATENCY = 0.25  # of MLServer's
ALONE = {"x-ndjson": 0.8, "vnd.apache.arrow.stream": 0.7, "octet-stream": 0.7}
TWO = 0.9
PRESSURE = 2.0  # times the latency at capacity
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
        """Processor time so far of all its processes, in seconds."""
        return sum(_ticks(pid) for pid in _family(self.process.pid)) / TICKS

    @property
    def memory(self) -> float:
        """Resident memory at its highest, in MB."""
        said = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+)", said)[0]) / 1024


class Asked(NamedTuple):
    """What wrk found of one server."""

    a_cpu_second: float  # requests
    a_second: float
    p99: float  # seconds


def main() -> None:
    """Measure."""
    options = parse(__doc__, FULL, QUICK)
    report = Report("service", quick=options.quick)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = train(_rows.write(folder / "normal.csv", min(options.rows, 20_000), seed=10_000), folder / "models" / "pumps")
        start(report, model, options)
        bodies(report, model, folder, options)
        if shutil.which("wrk"):
            beside(report, model, folder, options)
            pressed(report, model, folder, options)
        else:
            report.leave_out("requests, workers and overload: wrk is not installed")
    report.close(options.json)


def beside(report: Report, model: Path, folder: Path, options: Options) -> None:
    """Compare requests to ours with those to others."""
    with contextlib.ExitStack() as stack:
        mine, both = stack.enter_context(ours(model)), stack.enter_context(ours(model, "--workers", "2"))
        others = [stack.enter_context(bare(model))]
        for each in () if TINY else PEERS:
            if programs := installed(each.package):
                others.append(stack.enter_context(peer(each, programs, model, folder)))
            else:
                report.leave_out(f"{each.name}: it cannot be installed")
        for rows, target in AT_LEAST.items():
            requests(report, folder, (mine, both, *others), rows, target, options.rounds)


def start(report: Report, model: Path, options: Options) -> None:
    """Compare the start, and memory after it, with those of a bare process."""
    times, peaks = [], []
    for _ in range(options.rounds):
        alone = measure(sys.executable, "-c", OPEN, model / "model.onnx")
        with ours(model) as mine:
            times.append(mine.cpu / alone.cpu)
            peaks.append(mine.memory / alone.peak)
    report.add(
        line("start to the first answer / imports and graph, cpu", times, at_most=START),
        line("memory after it / imports and graph", peaks, at_most=MEMORY),
    )


def requests(report: Report, folder: Path, servers: tuple[Server, ...], rows: int, target: float, rounds: int) -> None:
    """Compare requests of so many rows; ours comes first, and then ours with two workers."""
    found = [[asked(server, folder, rows) for server in servers] for _ in range(rounds)]
    what = f"{rows} row{'s' * (rows > 1)} a request"
    for place, server in enumerate(servers[2:], 2):
        pairs = [(one[0], one[place]) for one in found]
        least = target if server.name == "bare" else OF_PEERS[rows].get(server.name)
        best = [max(pair[side].a_cpu_second for pair in pairs) for side in (0, 1)]
        note = f"{best[0]:,.0f} requests a cpu second, {server.name} {best[1]:,.0f}"
        ratios = [mine.a_cpu_second / other.a_cpu_second for mine, other in pairs]
        name = f"{what}: ours / {server.name}"
        report.add(
            line(f"{name}, cpu", ratios, at_least=least, note=note),
            line(f"{name}, wall", [mine.a_second / other.a_second for mine, other in pairs]),
        )
        if server.name in {"bare", "MLServer"}:
            most = LATENCY if server.name == "MLServer" else None
            report.add(line(f"{name}, p99", [mine.p99 / other.p99 for mine, other in pairs], at_most=most))
    two = [one[1].a_cpu_second / one[0].a_cpu_second for one in found]
    report.add(line(f"{what}: two workers / one, cpu", two, at_least=TWO if rows > 1 else None))


def asked(server: Server, folder: Path, rows: int, connections: int = CONNECTIONS, seconds: int = SECONDS) -> Asked:
    """Let wrk ask for a while."""
    before = server.cpu
    said = subprocess.run(wrk(server, folder, rows, connections, seconds), capture_output=True, text=True, check=True).stdout
    used = server.cpu - before
    if "Non-2xx" in said:
        raise RuntimeError(f"{server.name} refuses:\n{said}")
    count = int(re.findall(r"(\d+) requests in", said)[0])
    amount, unit = re.findall(r"99%\s+([\d.]+)(us|ms|s)", said)[0]
    p99 = float(amount) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[unit]
    return Asked(count / max(used, 1 / TICKS), float(re.findall(r"Requests/sec:\s+([\d.]+)", said)[0]), p99)


def wrk(server: Server, folder: Path, rows: int, connections: int, seconds: int) -> list[str]:
    """Give the command that asks so many rows at a time."""
    script = folder / f"{server.name.replace(' ', '-')}-{rows}.lua"
    script.write_text(SCRIPT.format(asking(server, rows).decode()))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "-s", str(script)]
    return [*command, f"http://127.0.0.1:{server.port}{server.path}"]


def asking(server: Server, rows: int) -> bytes:
    """Give a body of so many rows."""
    return msgspec.json.encode(server.body(_rows.generated(rows, seed=1).to_dicts()))


def pressed(report: Report, model: Path, folder: Path, options: Options) -> None:
    """Press ours with as many connections as its queue has places, and with ten times as many."""
    rows, seconds = 64, PRESSED if not options.quick else unless_tiny(10, 1)
    with ours(model, "--max-requests", str(20 * QUEUE)) as mine:
        probed, peaks = [], []
        for connections, length in ((QUEUE, min(seconds, 20)), (10 * QUEUE, seconds)):
            pressing = subprocess.Popen(
                wrk(mine, folder, rows, connections, length + 1), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            probed.append(probe(mine.port, mine.path, asking(mine, rows), length))
            pressing.wait()
            peaks.append(mine.memory)
    usual, under = probed
    note = f"{usual.p99 * 1e3:.0f} ms at {QUEUE} connections, {under.p99 * 1e3:.0f} ms at {10 * QUEUE}; {under.refused} refused"
    report.add(
        line(f"overload for {seconds} s: p99 of accepted / at capacity", [under.p99 / usual.p99], at_most=PRESSURE, note=note),
        line("overload: peak memory / at capacity", [peaks[1] / peaks[0]], note=f"{peaks[1]:.0f} MB"),
    )


def bodies(report: Report, model: Path, folder: Path, options: Options) -> None:
    """Compare whole bodies of the other forms with the libraries alone that read and score them."""
    frame = _rows.generated(options.rows, seed=2)
    arrow = io.BytesIO()
    frame.write_ipc_stream(arrow)
    forms = {
        "x-ndjson": frame.write_ndjson().encode(),
        "vnd.apache.arrow.stream": arrow.getvalue(),
        "octet-stream": np.ascontiguousarray(frame.to_numpy()).tobytes(),
    }
    files = {name: folder / name for name in forms}
    for name, body in forms.items():
        files[name].write_bytes(body)
    ratios: dict[str, list[float]] = {name: [] for name in forms}
    rates: dict[str, float] = dict.fromkeys(forms, 0.0)
    with ours(model) as mine:
        answered(mine, files["x-ndjson"], "application/x-ndjson")
        for _ in range(options.rounds):
            said = measure(sys.executable, "-m", "benchmarks._alone", model, files["x-ndjson"], files["octet-stream"]).said
            lines, matrix = map(float, said.split())
            for name, file in files.items():
                used = answered(mine, file, f"application/{name}")
                ratios[name].append((lines if name == "x-ndjson" else matrix) / used)
                rates[name] = max(rates[name], options.rows / used)
    for name, least in ALONE.items():
        note = f"{rates[name]:,.0f} rows a cpu second of the server; {options.rows:,} rows in one body"
        report.add(line(f"{name}: libraries alone / ours, cpu", ratios[name], at_least=least, note=note))


def answered(server: Server, file: Path, content_type: str) -> float:
    """Ask once; gives the server's processor time."""
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
    with running("bare", [sys.executable, "-m", "benchmarks._bare_service", str(model), str(port)], port, "/score") as server:
        yield server


@contextlib.contextmanager
def peer(which: Peer, programs: Path, model: Path, folder: Path) -> Iterator[Server]:
    """Run a peer."""
    port, place = free_port(), folder / which.package
    place.mkdir(exist_ok=True)
    command = which.command(programs, model, port, place)
    with running(which.name, command, port, which.path, which.body, {"BUNDLE": str(model)}) as server:
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
    """Run a server, and wait for its first answer."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not ready(port):
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with exit code {process.returncode}")
            time.sleep(0.02)
        yield Server(name, process, port, path, body)
    finally:
        process.terminate()
        process.wait()


def ready(port: int) -> bool:
    """Tell whether a server answers, whatever it says."""
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
    """Give a process and all that it started."""
    with contextlib.suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
        return [pid, *(each for child in children for each in _family(child))]
    return []


def _ticks(pid: int) -> int:
    """Give a process's processor time."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    return 0


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
