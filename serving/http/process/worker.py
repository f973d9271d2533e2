"""One worker: an event loop on a socket, signals, and a shutdown that finishes the requests it has begun."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from uvicorn import Config, Server

from detector.errors import SettingError
from serving.http.core.settings import HttpSettings
from serving.http.models.registry import polling
from serving.http.process.service import HttpService, Listener, WorkerIdentity
from serving.http.process.sockets import url
from serving.http.process.uvicorn_config import uvicorn_config
from serving.log import configure_logging, log
from serving.monitoring.metrics_server import serve_metrics
from serving.standard_error import end_background

SINGLE_WORKER = WorkerIdentity()
BACKLOG = 2048
EXIT_DELAY = 5.0  # seconds after the drain timeout in which a process must have ended
# The browser loads the page at / from this service only; all other responses are data.
CSP = "default-src 'none'; connect-src 'self'; img-src 'self'; script-src 'self'; style-src 'self'; frame-ancestors 'none'"
SECURITY_HEADERS = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("content-security-policy", CSP),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("vary", "accept-encoding"),
]
HSTS = [("strict-transport-security", "max-age=31536000")]


def run_worker(
    path: Path,
    settings: HttpSettings,
    bound: socket.socket,
    identity: WorkerIdentity = SINGLE_WORKER,
    parent: Connection | None = None,
) -> None:
    """Serve the bundles at a path in this process until a signal arrives, or the parent process ends.

    Raises:
        BundleError: a bundle is invalid.
        SettingError: the device, a certificate or the metrics port is not available.
    """
    configure_logging(settings.log)
    service, worker = HttpService(path, settings, identity), identity.worker
    config = _config(service.listener(), settings)
    names = [f"{model.name}/{model.version}" for model in service.models.current_models()]
    metrics_port = None if settings.metrics_port is None else settings.metrics_port + worker
    gc.collect()
    gc.freeze()  # everything so far lives as long as the process: the garbage collector need not visit it
    metrics = serve_metrics(settings.host, metrics_port, service.metrics.registry, is_optional=identity.is_restart)
    with metrics, polling(service.models):
        log().info("serving", url=url(bound, settings), models=names, worker=worker)
        server = DrainingServer(config, service, parent)
        server.run([bound])
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # it ends anyway; a signal would change its exit code only
    if server.orphaned and identity.socket and not worker:
        shutil.rmtree(identity.socket.parent, ignore_errors=True)
    service.limiter.close()
    log().info("stopped", worker=worker)


class DrainingServer(Server):
    """A server that, on a signal, reports that it is not ready, and after a delay finishes the requests it has begun."""

    def __init__(self, config: Config, service: HttpService, parent: Connection | None) -> None:
        super().__init__(config)
        self._service = service
        self._parent = parent
        self._closes_at = math.inf  # a value of `time.monotonic`
        self.orphaned = False

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, with the background tasks of the service."""
        async with self._service.background_tasks():
            await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and report that to the parent process."""
        await super().startup(sockets)
        if self._parent:
            self._parent.send("")

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Drain on SIGTERM, Ctrl-C and the end of the parent process; without a parent, stop at once on a second signal.

        A worker with a parent ignores Ctrl-C, which its parent receives too, and a second SIGTERM, which may come from whoever
        stops all processes of a group.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._signalled)
        if self._parent:
            loop.add_signal_handler(signal.SIGINT, lambda: None)
            loop.add_reader(self._parent.fileno(), self._parent_ended, loop, self._parent.fileno())
        else:
            loop.add_signal_handler(signal.SIGINT, self._signalled)
        yield

    async def on_tick(self, counter: int) -> bool:
        """Accept no more requests once the delay is over; returns whether to shut down."""
        if time.monotonic() >= self._closes_at:
            self._close()
        return await super().on_tick(counter)

    def _signalled(self) -> None:
        if not self._service.readiness.draining:
            settings = self._service.settings
            _exit_after(settings.drain_delay + settings.drain_timeout + EXIT_DELAY)
            self._drain()
        elif not self._parent:
            self.force_exit = True
            self._close()

    def _drain(self) -> None:
        """Report that the service is not ready, and shut down after the delay."""
        self._service.readiness.draining = True
        delay = self._service.settings.drain_delay
        self._closes_at = time.monotonic() + delay
        if not delay:
            self._close()
        log().info("draining", delay=delay)

    def _close(self) -> None:
        """Accept no more requests, and finish those in progress."""
        self.should_exit = self._service.readiness.closing = True

    def _parent_ended(self, loop: asyncio.AbstractEventLoop, parent: int) -> None:
        loop.remove_reader(parent)
        self.orphaned = True
        self._signalled()


def _exit_after(seconds: float) -> None:
    """End the process after a time, whatever hangs: a thread that scores or reads a disk that is gone is waited for otherwise."""
    timer = threading.Timer(seconds, _exit)
    timer.daemon = True
    timer.start()


def _exit() -> None:
    log().warning("the drain timeout has passed: stopped without waiting any longer")
    end_background()
    os._exit(0)


def _config(listener: Listener, settings: HttpSettings) -> Config:
    """Return the configuration of uvicorn for clients.

    Raises:
        SettingError: the certificate or its key cannot be loaded.
    """
    config = uvicorn_config(
        listener.app,
        listener.connection,
        settings,
        headers=[*SECURITY_HEADERS, *(HSTS if settings.tls_certificate else [])],
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        loop="uvloop",
        backlog=BACKLOG,
        timeout_graceful_shutdown=int(settings.drain_timeout) or 1,
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        certificate = settings.tls_certificate
        raise SettingError(f"cannot load the certificate {certificate} and its key: {error.strerror or error}") from error
    return config
