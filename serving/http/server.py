"""The process: a socket, a loop, signals, and an end that finishes what was begun."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

from uvicorn import Config, Server

from detector.errors import SettingError
from serving.http.app import App
from serving.http.gate import Gate
from serving.http.log import log, set_up
from serving.http.metrics import Metrics
from serving.http.models import Models
from serving.http.protocol import Connection
from serving.http.routes import Routes
from serving.http.scoring import Scoring
from serving.http.settings import Settings
from serving.http.state import State
from serving.http.tokens import Tokens

THREADS = 1
BACKLOG = 2048
SAFE = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
]
ALWAYS_TLS = [("strict-transport-security", "max-age=31536000")]


def serve(path: Path, settings: Settings) -> None:
    """Serve the bundles at a path until a signal comes.

    Raises:
        BundleError: one cannot be trusted.
        SettingError: the device or the address is not to be had.
    """
    set_up(settings.log)
    state, metrics = State(), Metrics()
    tokens = Tokens(settings.token_file) if settings.token_file else None
    gate = Gate(settings.max_requests, settings.max_queue, THREADS)
    models = Models(path, settings.device, metrics.loaded)
    metrics.watch(lambda: gate.inside, models.open_ones)
    scoring = Scoring(models, gate, settings)
    app = App(scoring, Routes(models, scoring, state, metrics), gate, metrics, tokens, settings)
    config = _config(app, settings, metrics)
    with bound(settings) as listening:
        log().info("serving", url=url(listening, settings), models=[f"{each.name}/{each.version}" for each in models.all()])
        Draining(config, state).run([listening])
    gate.close()
    log().info("stopped")


class Draining(Server):
    """A server that says it is going down, and then finishes what was begun."""

    def __init__(self, config: Config, state: State) -> None:
        super().__init__(config)
        self._state = state

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGTERM and Ctrl-C as the request to end well; a second one ends at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        yield

    def _end(self) -> None:
        log().info("draining")
        self.force_exit = self.should_exit
        self.should_exit = self._state.draining = True


def url(listening: socket.socket, settings: Settings) -> str:
    """Give the address of the service."""
    host, port = listening.getsockname()[:2]
    scheme = "https" if settings.tls_certificate else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def bound(settings: Settings) -> socket.socket:
    """Take the address.

    Raises:
        SettingError: it is not to be had.
    """
    try:
        return socket.create_server((settings.host, settings.port), backlog=BACKLOG, family=_family(settings.host))
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise SettingError(f"cannot listen on {where}: {error.strerror or error}; --host and --port choose another") from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _config(app: App, settings: Settings, metrics: Metrics) -> Config:
    """Set uvicorn up: no access log, no lifespan, no proxies, our connections.

    Raises:
        SettingError: the certificate or its key cannot be used.
    """
    config = Config(
        app,
        http=cast("Any", partial(Connection, settings, metrics.refused)),
        headers=[*SAFE, *(ALWAYS_TLS if settings.tls_certificate else [])],
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        ws="none",
        lifespan="off",
        loop="uvloop",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=int(settings.idle_timeout) or 1,
        timeout_graceful_shutdown=int(settings.drain_timeout) or 1,
    )
    try:
        config.load()
    except OSError as error:  # ssl's errors are such
        raise SettingError(f"{settings.tls_certificate} and its key cannot be used: {error.strerror or error}") from error
    return config
