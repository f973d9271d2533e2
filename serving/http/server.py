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
from serving.http.models import Models
from serving.http.protocol import Connection
from serving.http.routes import Routes
from serving.http.scoring import Scoring
from serving.http.settings import Settings
from serving.http.state import State

THREADS = 1
BACKLOG = 2048


def serve(path: Path, settings: Settings) -> None:
    """Serve the bundles at a path until a signal comes.

    Raises:
        BundleError: one cannot be trusted.
        SettingError: the device or the address is not to be had.
    """
    state = State()
    gate = Gate(settings.max_requests, settings.max_queue, THREADS)
    models = Models(path, settings.device)
    app = App(Scoring(models, gate, settings), Routes(models, state), gate)
    with bound(settings) as listening:
        Draining(_config(app, settings), state).run([listening])
    gate.close()


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
        self.force_exit = self.should_exit
        self.should_exit = self._state.draining = True


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


def _config(app: App, settings: Settings) -> Config:
    """Set uvicorn up: no access log, no lifespan, no proxies, our connections."""
    return Config(
        app,
        http=cast("Any", partial(Connection, settings, lambda _reason: None)),
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
