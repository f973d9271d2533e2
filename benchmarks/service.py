"""Claim: the service costs no more than a bare starlette handler around the same graph.

`residuum serve` and the bare handler (`benchmarks._bare_service`) are up at once; wrk asks one and the other in turns, over 16
connections, with one row of 30 numbers a request and with 64. A line is the median over the rounds of requests per second of
the server's processor time, ours / bare: at least 1.2 at one row and 1.0 at 64. Requests per second of wall time stand beside
it; they move with whatever else the machine does. NDJSON, Arrow and raw rows: rows per second of the server's processor time.

Start until the first answer, and memory then, beside a process that imports numpy, polars and onnxruntime and opens the graph.
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
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from benchmarks import _rows
from benchmarks._child import RESIDUUM, ROOT, measure
from benchmarks._detector import train
from benchmarks._options import Options, Size, parse, unless_tiny
from benchmarks._report import Report, line
from benchmarks.cold_start import OPEN

FULL, QUICK = Size(20_000, 7), Size(20_000, 3)
CONNECTIONS = 16
SECONDS = unless_tiny(3, 1)  # of each of wrk's runs
AT_LEAST = {1: 1.2, 64: 1.0}
START, MEMORY = 2.0, 2.0
TICKS = os.sysconf("SC_CLK_TCK")
SCRIPT = """wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = [==[{}]==]
"""


class Server(NamedTuple):
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    path: str

    @property
    def cpu(self) -> float:
        """Processor time so far, in seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def memory(self) -> float:
        """Resident memory at its highest, in MB."""
        said = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+)", said)[0]) / 1024


class Asked(NamedTuple):
    """What wrk found of one server."""

    a_cpu_second: float  # requests
    a_second: float
    p99: str


def main() -> None:
    """Measure."""
    options = parse(__doc__, FULL, QUICK)
    report = Report("service", quick=options.quick)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = train(_rows.write(folder / "normal.csv", min(options.rows, 20_000), seed=10_000), folder / "models" / "pumps")
        start(report, model, options)
        if shutil.which("wrk"):
            with ours(model) as mine, bare(model) as other:
                for rows, target in AT_LEAST.items():
                    requests(report, folder, (other, mine), rows, target, options.rounds)
        else:
            report.leave_out("requests: wrk is not installed")
        with ours(model) as mine:
            bodies(report, mine, options)
    report.close(options.json)


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


def requests(report: Report, folder: Path, servers: tuple[Server, Server], rows: int, target: float, rounds: int) -> None:
    """Compare requests of so many rows."""
    script = folder / "ask.lua"
    script.write_text(SCRIPT.format(msgspec.json.encode({"rows": _rows.generated(rows, seed=1).to_dicts()}).decode()))
    found = [[asked(server, script) for server in servers] for _ in range(rounds)]
    best = [max(pair[side].a_cpu_second for pair in found) for side in (0, 1)]
    note = f"{best[1]:,.0f} requests a cpu second, bare {best[0]:,.0f}; p99 {found[-1][1].p99}, bare {found[-1][0].p99}"
    name = f"{rows} row{'s' * (rows > 1)} a request: ours / bare"
    report.add(
        line(f"{name}, cpu", [mine.a_cpu_second / other.a_cpu_second for other, mine in found], at_least=target, note=note),
        line(f"{name}, wall", [mine.a_second / other.a_second for other, mine in found]),
    )


def asked(server: Server, script: Path) -> Asked:
    """Let wrk ask for a while."""
    url = f"http://127.0.0.1:{server.port}{server.path}"
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}", "--latency", "-s", str(script), url]
    before = server.cpu
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = server.cpu - before
    if "Non-2xx" in said:
        raise RuntimeError(f"{url} refuses:\n{said}")
    count = int(re.findall(r"(\d+) requests in", said)[0])
    return Asked(count / used, float(re.findall(r"Requests/sec:\s+([\d.]+)", said)[0]), re.findall(r"99%\s+(\S+)", said)[0])


def bodies(report: Report, server: Server, options: Options) -> None:
    """Measure whole bodies of the other forms."""
    frame = _rows.generated(options.rows, seed=2)
    arrow = io.BytesIO()
    frame.write_ipc_stream(arrow)
    forms = {
        "x-ndjson": frame.write_ndjson().encode(),
        "vnd.apache.arrow.stream": arrow.getvalue(),
        "octet-stream": np.ascontiguousarray(frame.to_numpy()).tobytes(),
    }
    for name, body in forms.items():
        rates = [options.rows / answered(server, body, f"application/{name}") for _ in range(options.rounds)]
        report.add(line(f"{name}: rows a cpu second of the server", rates, note=f"{options.rows:,} rows in one body"))


def answered(server: Server, body: bytes, content_type: str) -> float:
    """Ask once; gives the server's processor time."""
    before = server.cpu
    command = ["curl", "-sS", "--fail", "-o", os.devnull, "-X", "POST", "-T", "-", "-H", f"content-type: {content_type}"]
    subprocess.run([*command, f"http://127.0.0.1:{server.port}{server.path}"], input=body, check=True)
    return max(server.cpu - before, 1 / TICKS)


@contextlib.contextmanager
def ours(model: Path) -> Iterator[Server]:
    """Run the service."""
    port = free_port()
    command = [
        RESIDUUM,
        "serve",
        str(model),
        "--port",
        str(port),
        "--log",
        "json",
        "--max-body",
        str(2**30),
        "--max-rows",
        "10000000",
    ]
    with running(command, port, f"/v1/models/{model.parent.name}/score") as server:
        yield server


@contextlib.contextmanager
def bare(model: Path) -> Iterator[Server]:
    """Run the bare handler."""
    port = free_port()
    with running([sys.executable, "-m", "benchmarks._bare_service", str(model), str(port)], port, "/score") as server:
        yield server


@contextlib.contextmanager
def running(command: list[str], port: int, path: str) -> Iterator[Server]:
    """Run a server, and wait for its first answer."""
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        while not ready(port):
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with exit code {process.returncode}")
            time.sleep(0.02)
        yield Server(process, port, path)
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


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
