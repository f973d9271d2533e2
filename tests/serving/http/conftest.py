"""A service in a process of its own, on a socket of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from detector import bundle
from tests.data.make_bundle import KEPT

RUN = "import sys; sys.argv[0] = 'residuum'; from residuum.cli import main; main()"
LOOK_AGAIN = 0.02
STARTS_WITHIN = 60

Start = Callable[..., "Service"]


class Service:
    """A running service."""

    def __init__(self, models: Path, *flags: object, log: Path) -> None:
        self.port = free_port()
        self.scheme = "https" if "--tls-key" in flags else "http"
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        command = [sys.executable, "-c", RUN, "serve", models, "--port", self.port, *flags]
        with log.open("wb") as file:
            self.process = subprocess.Popen([*map(str, command)], stderr=file, env={**os.environ, "NO_COLOR": "1"})

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait(self) -> None:
        """Wait until it answers."""
        for _ in range(int(STARTS_WITHIN / LOOK_AGAIN)):
            assert self.process.poll() is None, self.log
            with contextlib.suppress(httpx.HTTPError), httpx.Client(verify=False) as client:  # noqa: S501 - is it there?
                client.get(f"{self.scheme}://127.0.0.1:{self.port}/livez")
                return
            time.sleep(LOOK_AGAIN)
        raise AssertionError(self.log)

    def stop(self) -> int:
        """Ask it to end, and give the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def post(self, rows: object, **options: object) -> httpx.Response:
        """Ask for verdicts on rows."""
        return httpx.post(f"{self.url}/v1/models/pumps/score", json=rows, timeout=60, **options)  # type: ignore[arg-type]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 20)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two names, one of them with two versions."""
    folder = tmp_path_factory.mktemp("models")
    for name, version in (("pumps", 1), ("pumps", 2), ("fans", 1)):
        copy(folder, name, version)
    return folder


def copy(folder: Path, name: str, version: int) -> None:
    """Write the kept bundle under another name and number."""
    kept = bundle.read(KEPT)
    manifest = msgspec.structs.replace(kept.manifest, name=name, version=version)
    place = folder / name / str(version)
    place.mkdir(parents=True)
    contents = {bundle.MODEL: kept.model, bundle.CALIBRATION: bundle.calibration_bytes(kept.calibration)}
    bundle.write(place, manifest, contents)


@pytest.fixture(scope="session")
def service(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service as it comes."""
    started = Service(models, log=tmp_path_factory.mktemp("service") / "log")
    started.wait()
    yield started
    started.stop()


@pytest.fixture
def start(models: Path, tmp_path: Path) -> Iterator[Start]:
    """Start services with flags."""
    started: list[Service] = []

    def begin(*flags: object, at: Path = models) -> Service:
        service = Service(at, *flags, log=tmp_path / f"log-{len(started)}")
        started.append(service)
        service.wait()
        return service

    yield begin
    for service in started:
        service.stop()


def answered(sock: socket.socket) -> tuple[int, dict[str, object]]:
    """Read an answer to its end: its status and, if it is JSON, its body."""
    text = b""
    while piece := sock.recv(65536):
        text += piece
    head, _, body = text.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)
