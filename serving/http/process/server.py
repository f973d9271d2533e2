"""The process: a socket, a loop, signals, and an end that finishes what was begun."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shutil
import signal
import socket
from collections.abc import Iterator
from multiprocessing.connection import Connection as Parent
from pathlib import Path

from uvicorn import Config, Server

from detector.errors import SettingError
from serving.http.core.settings import HttpSettings
from serving.http.models.registry import watching_disk
from serving.http.process.service import HttpService, Listener, WorkerIdentity
from serving.http.process.uvicorn_config import uvicorn_config
from serving.log import configure_logging, log
from serving.monitoring.metrics_server import serve_metrics

ALONE = WorkerIdentity()
BACKLOG = 2048
# The page at / is all that is loaded, from here alone; everything else is data.
CSP = "default-src 'none'; connect-src 'self'; img-src 'self'; script-src 'self'; style-src 'self'; frame-ancestors 'none'"
SAFE = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("content-security-policy", CSP),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
]
ALWAYS_TLS = [("strict-transport-security", "max-age=31536000")]


def serve(path: Path, settings: HttpSettings) -> None:
    """Serve the bundles at a path until a signal comes.

    Raises:
        BundleError: one cannot be trusted.
        SettingError: the device or the address is not to be had.
    """
    if settings.workers > 1:
        from serving.http.process.supervisor import Supervisor

        Supervisor(path, settings).run()
        return
    with bound(settings) as listening:
        run(path, settings, listening)


def run(
    path: Path, settings: HttpSettings, listening: socket.socket, place: WorkerIdentity = ALONE, parent: Parent | None = None
) -> None:
    """Serve in this process.

    Raises:
        BundleError, SettingError: as `serve`.
    """
    configure_logging(settings.log)
    service, worker = HttpService(path, settings, place), place.worker
    config = _config(service.door(), settings)
    names = [f"{each.name}/{each.version}" for each in service.models.current_models()]
    port = None if settings.metrics_port is None else settings.metrics_port + worker
    gc.collect()
    gc.freeze()  # what is there now stays: it need not be looked through again and again
    with serve_metrics(settings.host, port, service.metrics.registry), watching_disk(service.models):
        log().info("serving", url=url(listening, settings), models=names, worker=worker)
        server = DrainingServer(config, service, parent)
        server.run([listening])
    if server.orphaned and place.socket and not worker:
        shutil.rmtree(place.socket.parent, ignore_errors=True)
    service.limiter.close()
    log().info("stopped", worker=worker)


class DrainingServer(Server):
    """A server that says it is going down, and then finishes what was begun."""

    def __init__(self, config: Config, service: HttpService, parent: Parent | None) -> None:
        super().__init__(config)
        self._service = service
        self._parent = parent
        self.orphaned = False

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, and do what is done beside."""
        async with self._service.beside():
            await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell the parent so."""
        await super().startup(sockets)
        if self._parent:
            self._parent.send("")

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGTERM, Ctrl-C and a parent's death as the request to end well; a second signal ends at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        if self._parent:
            loop.add_reader(self._parent.fileno(), self._orphaned, loop, self._parent.fileno())
        yield

    def _end(self) -> None:
        log().info("draining")
        self.force_exit = self.should_exit
        self.should_exit = self._service.state.draining = True

    def _orphaned(self, loop: asyncio.AbstractEventLoop, parent: int) -> None:
        loop.remove_reader(parent)
        self.orphaned = True
        self._end()


def url(listening: socket.socket, settings: HttpSettings) -> str:
    """Give the address of the service."""
    host, port = listening.getsockname()[:2]
    scheme = "https" if settings.tls_certificate else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def bound(settings: HttpSettings, *, shared: bool = False) -> socket.socket:
    """Take the address, and leave listening to the server; `shared` with other workers, among whom the system deals.

    Raises:
        SettingError: it is not to be had.
    """
    taken = socket.socket(_family(settings.host), socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind((settings.host, settings.port))
    except OSError as error:
        taken.close()
        where = f"{settings.host}:{settings.port}"
        raise SettingError(f"cannot listen on {where}: {error.strerror or error}; --host and --port choose another") from error
    return taken


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _config(door: Listener, settings: HttpSettings) -> Config:
    """Set uvicorn up for clients.

    Raises:
        SettingError: the certificate or its key cannot be used.
    """
    config = uvicorn_config(
        door.app,
        door.connection,
        settings,
        headers=[*SAFE, *(ALWAYS_TLS if settings.tls_certificate else [])],
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        loop="uvloop",
        backlog=BACKLOG,
        timeout_graceful_shutdown=int(settings.drain_timeout) or 1,
    )
    try:
        config.load()
    except OSError as error:  # ssl's errors are such
        raise SettingError(f"{settings.tls_certificate} and its key cannot be used: {error.strerror or error}") from error
    return config
