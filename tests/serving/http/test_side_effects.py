"""A log, a metric, feedback or a page that fails changes no answer, no exit code and no shutdown.

A short form of the last test runs with the other tests; `make torture` takes longer and has two workers.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port
from tests.serving.http.conftest import ASK, MAIN, START_TIMEOUT, ServiceProcess, copy, until
from tests.serving.http.test_limits import HEAD
from tests.serving.http.test_reloads import two_free_ports
from tests.serving.http.test_workers import children_of
from tests.tables import normal_rows, planted_anomalies

TORTURE = bool(os.environ.get("RESIDUUM_TORTURE"))
SEED = int(os.environ.get("RESIDUUM_SEED", "1"))
ROUNDS = 60 if TORTURE else 4
DRAIN = 3  # seconds
LOG = ("--log", "json", "--access-share", 1, "--drain-timeout", DRAIN)
ROWS = [*normal_rows(20, seed=5).to_dicts(), *planted_anomalies(3).to_dicts()]


class Log:
    """What is behind the standard error of a service."""

    code = ""  # that runs before the service

    def open(self, folder: Path) -> int:
        """Return a file descriptor to start the service with."""
        raise NotImplementedError

    def started(self) -> None:
        """Break it, once the service has started."""

    def close(self) -> None:
        """Close what is open still."""


class FullDevice(Log):
    """A device without room, from the start."""

    def open(self, folder: Path) -> int:  # noqa: ARG002 - an argument of all
        return os.open("/dev/full", os.O_WRONLY)


class Pipe(Log):
    """A pipe whose reader ends once the service has started."""

    def open(self, folder: Path) -> int:  # noqa: ARG002 - an argument of all
        self.reader, writer = os.pipe()
        return writer

    def started(self) -> None:
        os.close(self.reader)


class StuckPipe(Pipe):
    """A pipe that is full, and whose reader does not read."""

    def open(self, folder: Path) -> int:
        writer = super().open(folder)
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while os.write(writer, b"\n" * 4096):
                pass
        os.set_blocking(writer, True)
        return writer

    def started(self) -> None:
        """Leave it as it is."""

    def close(self) -> None:
        os.close(self.reader)


class FullDisk(Log):
    """A file that may not grow; the system sends SIGXFSZ too."""

    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "

    def open(self, folder: Path) -> int:
        return os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


@contextlib.contextmanager
def serving(models: Path, log: Log, folder: Path, *options: object) -> Iterator[ServiceProcess]:
    """Run a service with a log that fails."""
    service = ServiceProcess.__new__(ServiceProcess)  # whose log is a readable file
    service.port = free_port()
    command = [sys.executable, "-c", log.code + MAIN, "serve", models, "--port", service.port, *LOG, *options]
    file = log.open(folder)
    service.process = subprocess.Popen([*map(str, command)], stderr=file)
    os.close(file)
    try:
        until(lambda: ready(service) or service.process.poll() is not None, START_TIMEOUT)
        log.started()
        yield service
    finally:
        service.process.kill()
        service.process.wait()
        log.close()


def ready(service: ServiceProcess) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return ASK.get(f"{service.url}/readyz").status_code == 200
    return False


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False


def stopped(service: ServiceProcess) -> int:
    """Send SIGTERM; return the exit code, which must come in time."""
    service.process.send_signal(signal.SIGTERM)
    return service.process.wait(DRAIN + 10)


def lost(service: ServiceProcess) -> float:
    """Return how many lines the worker that answers has lost."""
    (count,) = re.findall(r"^residuum_log_lines_lost_total (\S+)$", ASK.get(f"{service.url}/metrics").text, re.MULTILINE)
    return float(count)


@pytest.mark.parametrize(
    ("kind", "workers"),
    [
        (Pipe, 1),
        pytest.param(StuckPipe, 1, marks=pytest.mark.long),
        pytest.param(FullDevice, 1, marks=pytest.mark.long),
        pytest.param(FullDisk, 1, marks=pytest.mark.long),
        pytest.param(Pipe, 2, marks=pytest.mark.long),
        pytest.param(StuckPipe, 2, marks=pytest.mark.long),
        pytest.param(FullDevice, 2, marks=pytest.mark.long),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_log_that_fails_changes_nothing(kind: type[Log], workers: int, tmp_path: Path) -> None:
    log = kind()
    copy(tmp_path / "models", "pumps", 1)
    copy(tmp_path / "models", "pumps", 2)
    with serving(tmp_path / "models", log, tmp_path, "--workers", workers) as service:
        answers = [service.post(ROWS) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["anomalies"] for answer in answers}) == 1
        model = f"{service.url}/v1/models/pumps"
        assert ASK.post(f"{model}/promote", json={"version": 1}).status_code == 200
        assert ASK.post(f"{service.url}/v2/repository/models/pumps/load", json={}).status_code == 200
        feedback = {"request_id": answers[0].headers["x-request-id"], "row": 20, "verdict": "confirmed"}
        assert ASK.post(f"{model}/feedback", json=feedback).status_code == 200
        if not isinstance(log, StuckPipe):  # which is lost only when more is waiting than is kept
            until(lambda: lost(service) > 0)
        assert stopped(service) == 0


@pytest.mark.long
def test_two_signals_end_a_service_whose_log_has_no_reader(tmp_path: Path) -> None:
    """The second one ends it at once, with a request in progress."""
    copy(tmp_path / "models", "pumps", 1)
    log = Pipe()
    with serving(tmp_path / "models", log, tmp_path, "--drain-timeout", 60) as service, service.connect() as sock:
        sock.sendall(HEAD + b"content-length: 9\r\n\r\n[")
        time.sleep(0.3)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert service.process.poll() is None
        assert stopped(service) == 0


def test_feedback_that_cannot_be_written_whole_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from serving.http.models.feedback import *\n"
        "for number in range(8):\n"
        "    try: append(Path(sys.argv[1]), 1, [Feedback(str(number), 0, 'confirmed', 'x' * 100)])\n"
        "    except OutputError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", FullDisk.code + code, tmp_path], capture_output=True, text=True, check=True)
    lines = (tmp_path / "feedback.ndjson").read_text().splitlines(keepends=True)
    assert [json.loads(line)["feedback"]["request_id"] for line in lines] == [str(number) for number in range(len(lines))]
    assert lines[-1].endswith("\n")
    assert 0 < done.stdout.count("cannot write") == 8 - len(lines)


class Failures:
    """Side effects that fail at random while the service runs, and work again."""

    def __init__(self, service: ServiceProcess, models: Path, reader: int, metrics_port: int, random_: random.Random) -> None:
        self._service = service
        self._feedback = models / "pumps" / "feedback.ndjson"
        self._reader = reader
        self._metrics_port = metrics_port
        self._random = random_

    def fail(self) -> None:
        """Make one thing fail."""
        self._random.choice([self.read_log, self.scrape_and_leave, self.block_feedback, self.send_feedback, self.leave_page])()

    def read_log(self) -> None:
        """Read a part of the log, which nobody reads otherwise, so that it is full for most of the time."""
        os.set_blocking(self._reader, False)
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 5000)

    def scrape_and_leave(self) -> None:
        """Ask for metrics, and do not wait for them."""
        with socket.create_connection(("127.0.0.1", self._metrics_port), 5) as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # ends with a reset

    def block_feedback(self) -> None:
        """Put a folder in the place of the file, or take it away."""
        if self._feedback.is_dir():
            self._feedback.rmdir()
        else:
            self._feedback.unlink(missing_ok=True)
            self._feedback.mkdir()

    def send_feedback(self) -> None:
        item = {"request_id": "r", "row": 0, "verdict": "confirmed"}
        assert ASK.post(f"{self._service.url}/v1/models/pumps/feedback", json=item).status_code in {200, 503}

    def leave_page(self) -> None:
        """Open the page's events, and leave after the first."""
        with ASK.stream("GET", f"{self._service.url}/v1/events") as response:
            next(response.iter_lines())


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long)])
def test_failing_side_effects_under_load(workers: int, tmp_path: Path) -> None:
    """No answer changes while log, metrics port, feedback file and page fail at random; SIGTERM ends the service in time."""
    copy(tmp_path / "models", "pumps", 1)
    random_ = random.Random(SEED)  # noqa: S311 - no secret
    log, port = StuckPipe(), two_free_ports()
    answers: set[tuple[int, str]] = set()
    ended = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=30) as client:
            while not ended.is_set():
                response = client.post(f"{service.url}/v1/models/pumps/score", json=ROWS)
                answers.add((response.status_code, response.text))

    options = ("--workers", workers, "--metrics-port", port)
    with serving(tmp_path / "models", log, tmp_path, *options) as service:
        for worker in range(workers):
            until(lambda worker=worker: listens(port + worker), START_TIMEOUT)
        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            failures = Failures(service, tmp_path / "models", log.reader, port, random_)
            for _ in range(ROUNDS):
                failures.fail()
                time.sleep(random_.uniform(0, 0.2))
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        assert [status for status, _ in answers] == [200]
        children = children_of(service.process.pid)
        assert stopped(service) == 0
        assert not any(Path(f"/proc/{child}").exists() for child in children)
