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
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from detector import bundle
from detector.classifier import OUTPUT
from detector.graph import INPUT
from tests.data.make_bundle import write_minimal
from tests.ports import free_port
from tests.serving.http.loads import Load

RUN = "import sys; sys.argv[0] = 'residuum'; from residuum.cli import main; main()"
LOOK_AGAIN = 0.02
STARTS_WITHIN = 60

CLASSES = ("cold", "hot")
# One for all: making a client, as httpx.get does, costs more than most answers. Each request has a connection of its own.
ASK = httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0))

Start = Callable[..., "Service"]


class Service:
    """A running service."""

    def __init__(self, models: Path, *flags: object, log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        command = [sys.executable, "-c", RUN, "serve", models, "--port", self.port, *flags]
        with log.open("wb") as file:
            self.process = subprocess.Popen([*map(str, command)], stderr=file, env={**os.environ, "NO_COLOR": "1"})

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait(self) -> None:
        """Wait until it listens, which it does when it is ready."""
        for _ in range(int(STARTS_WITHIN / LOOK_AGAIN)):
            assert self.process.poll() is None, self.log
            with contextlib.suppress(ConnectionRefusedError):
                self.connect().close()
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
        return ASK.post(f"{self.url}/v1/models/pumps/score", json=rows, **options)  # type: ignore[arg-type]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 20)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two names, one of them with two versions, the other with a classifier."""
    folder = tmp_path_factory.mktemp("models")
    copy(folder, "pumps", 1)
    copy(folder, "pumps", 2)
    write_minimal(folder / "fans" / "1", {bundle.CLASSIFIER: classifier()}, name="fans", classes=CLASSES)
    return folder


def copy(folder: Path, name: str, version: int) -> None:
    """Write the kept bundle under another name and number."""
    write_minimal(folder / name / str(version), name=name, version=version)


def classifier() -> bytes:
    """Make a classifier that calls a row hot from 60 degrees on, if it knows its temperature."""
    at_60 = {"weights": np.array([[-0.1, 0.1]]), "bias": np.array([6.0, -6.0]), "place": np.array([0]), "unknown": np.array(60.0)}
    nodes = [
        helper.make_node("Gather", [INPUT, "place"], ["temperature"], axis=1),
        helper.make_node("IsNaN", ["temperature"], ["missing"]),
        helper.make_node("Where", ["missing", "unknown", "temperature"], ["known"]),
        helper.make_node("MatMul", ["known", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [OUTPUT], axis=1),
    ]
    ends = [
        helper.make_tensor_value_info(*each)
        for each in ((INPUT, TensorProto.DOUBLE, ["rows", 10]), (OUTPUT, TensorProto.DOUBLE, ["rows", 2]))
    ]
    numbers = [numpy_helper.from_array(value, name) for name, value in at_60.items()]
    graph = helper.make_graph(nodes, "classifier", ends[:1], ends[1:], numbers)
    content: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    return content


@pytest.fixture(scope="session")
def service(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service as it comes."""
    yield from running(Service(models, log=tmp_path_factory.mktemp("service") / "log"))


def running(service: Service) -> Iterator[Service]:
    """Give a service as long as it is wanted."""
    service.wait()
    yield service
    service.stop()


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


@pytest.fixture
def load() -> Iterator[Callable[[Service], Load]]:
    """Put services under load."""
    begun: list[Load] = []

    def begin(service: Service) -> Load:
        begun.append(Load(service.url))
        return begun[-1]

    yield begin
    for each in begun:
        each.stop()


def until(true: Callable[[], bool], within: float = 20) -> None:
    """Wait for something to be true."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within
        time.sleep(LOOK_AGAIN)


def answered(sock: socket.socket) -> tuple[int, dict[str, object]]:
    """Read an answer to its end: its status and, if it is JSON, its body."""
    text = b""
    while piece := sock.recv(65536):
        text += piece
    head, _, body = text.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)
