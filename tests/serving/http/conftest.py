"""Services for the tests of the HTTP API, which are behaviour tests by topic; tests of one module are in core/ and models/.

Most services run in a thread of the test process, which takes a tenth of a second; those whose process, signals or log are
tested run in a process of their own, which takes two seconds of CPU time.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from detector import bundle
from detector.classifier import OUTPUT
from detector.graph import INPUT
from serving.http.core.settings import HttpSettings
from serving.http.core.settings import load as load_settings
from serving.http.models.registry import polling
from serving.http.process.service import HttpService
from serving.http.process.sockets import bind
from serving.http.process.worker import SINGLE_WORKER, DrainingServer, _config
from serving.log import configure_logging
from tests.data.make_bundle import write_minimal
from tests.ports import free_port
from tests.serving.http.loads import Load

MAIN = "import sys; sys.argv[0] = 'residuum'; from residuum.cli import main; main()"
POLL_INTERVAL = 0.02
START_TIMEOUT = 60

CLASSES = ("cold", "hot")
# One client for all tests: creating one, as httpx.get does, costs more than most responses. Every request has its own connection.
ASK = httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0))

Start = Callable[..., "Service"]
StartProcess = Callable[..., "ServiceProcess"]


class Service:
    """A running service."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def post(self, rows: object, **options: object) -> httpx.Response:
        """Score rows with the model pumps."""
        return ASK.post(f"{self.url}/v1/models/pumps/score", json=rows, **options)  # type: ignore[arg-type]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 20)

    def stop(self) -> int:
        """Stop the service, and return its exit code."""
        raise NotImplementedError


class ServiceThread(Service):
    """A service in a thread of this process."""

    def __init__(self, models: Path, *options: object) -> None:
        settings = load_settings(None, {"port": 0, **parse(options)})
        configure_logging(settings.log)
        service = HttpService(models, settings, SINGLE_WORKER)
        self._server = _ThreadServer(_config(service.listener(), settings), service, None)
        self._polling = polling(service.models)
        self._socket = bind(settings)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="service")
        self._polling.__enter__()
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(POLL_INTERVAL / 10)

    def _run(self) -> None:
        with self._socket:
            self._server.run([self._socket])

    def stop(self) -> int:
        if self._thread.is_alive():
            self._server._drain()  # noqa: SLF001 - what a signal does
            self._thread.join(60)
            self._polling.__exit__(None, None, None)
        return int(self._thread.is_alive())


class _ThreadServer(DrainingServer):
    """A server that is no main thread, and so cannot handle signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ServiceProcess(Service):
    """A service in a process of its own."""

    def __init__(self, models: Path, *options: object, log: Path) -> None:
        self.port = free_port()
        self._log = log
        command = [sys.executable, "-c", MAIN, "serve", models, "--port", self.port, *options]
        with log.open("wb") as file:
            self.process = subprocess.Popen([*map(str, command)], stderr=file, env={**os.environ, "NO_COLOR": "1"})

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait(self) -> None:
        """Wait until it listens, which it does when it is ready."""
        for _ in range(int(START_TIMEOUT / POLL_INTERVAL)):
            assert self.process.poll() is None, self.log
            with contextlib.suppress(ConnectionRefusedError):
                self.connect().close()
                return
            time.sleep(POLL_INTERVAL)
        raise AssertionError(self.log)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def parse(options: tuple[object, ...]) -> dict[str, object]:
    """Parse command-line options of `residuum serve`, each with a value; one that is given again makes a list."""
    types = {field.name: field.type for field in msgspec.structs.fields(HttpSettings)}
    texts = [*map(str, options)]
    values: dict[str, object] = {}
    for option, value in zip(texts[::2], texts[1::2], strict=True):
        name = option.removeprefix("--").replace("-", "_")
        if "tuple[str" in str(types[name]):
            values[name] = [*values.get(name, ()), value]  # type: ignore[misc]
        else:
            values[name] = Path(value) if "Path" in str(types[name]) else msgspec.convert(value, types[name], strict=False)
    return values


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two models, one with two versions, the other with a classifier."""
    folder = tmp_path_factory.mktemp("models")
    copy(folder, "pumps", 1)
    copy(folder, "pumps", 2)
    write_minimal(folder / "fans" / "1", {bundle.CLASSIFIER: classifier()}, name="fans", classes=CLASSES)
    return folder


def copy(folder: Path, name: str, version: int) -> None:
    """Write the smallest bundle under a name and version."""
    write_minimal(folder / name / str(version), name=name, version=version)


def classifier() -> bytes:
    """Return a classifier that calls a row hot from 60 degrees on, if its temperature is known."""
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
        helper.make_tensor_value_info(*end)
        for end in ((INPUT, TensorProto.DOUBLE, ["rows", 10]), (OUTPUT, TensorProto.DOUBLE, ["rows", 2]))
    ]
    numbers = [numpy_helper.from_array(value, name) for name, value in at_60.items()]
    graph = helper.make_graph(nodes, "classifier", ends[:1], ends[1:], numbers)
    content: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    return content


@pytest.fixture(scope="session")
def service(models: Path) -> Iterator[Service]:
    """The service with its default settings."""
    yield from running(ServiceThread(models))


def running(service: Service) -> Iterator[Service]:
    """Yield a service, and stop it afterwards."""
    yield service
    service.stop()


@pytest.fixture
def start(models: Path) -> Iterator[Start]:
    """Start services in threads."""
    with contextlib.ExitStack() as stack:

        def begin(*options: object, at: Path = models) -> Service:
            service = ServiceThread(at, *options)
            stack.callback(service.stop)
            return service

        yield begin


@pytest.fixture
def start_process(models: Path, tmp_path: Path) -> Iterator[Callable[..., ServiceProcess]]:
    """Start services in processes."""
    with contextlib.ExitStack() as stack:

        def begin(*options: object, at: Path = models) -> ServiceProcess:
            service = ServiceProcess(at, *options, log=tmp_path / f"log-{free_port()}")
            stack.callback(service.stop)
            service.wait()
            return service

        yield begin


@pytest.fixture
def load() -> Iterator[Callable[[Service], Load]]:
    """Start clients that send requests all the time."""
    with contextlib.ExitStack() as stack:

        def begin(service: Service) -> Load:
            clients = Load(service.url)
            stack.callback(clients.stop)
            return clients

        yield begin


def until(condition: Callable[[], bool], timeout: float = 20) -> None:
    """Wait until a condition is true."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout
        time.sleep(POLL_INTERVAL)


def answered(sock: socket.socket) -> tuple[int, dict[str, object]]:
    """Read a response to the end of the connection; returns its status and its JSON body."""
    text = b""
    while chunk := sock.recv(65536):
        text += chunk
    head, _, body = text.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)
