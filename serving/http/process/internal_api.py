"""What worker 0 is to the others: the same service on a Unix socket that nobody else can reach, and whoever takes reports.

Who may ask what was looked at, and is counted, where the request came in.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Server

from detector.errors import SettingError
from serving.http.core.access_log import AccessLog
from serving.http.core.connection import ClientConnection
from serving.http.core.request import Request, RequestHead
from serving.http.core.settings import HttpSettings
from serving.http.process.aggregator import Aggregator
from serving.http.process.uvicorn_config import uvicorn_config
from serving.http.process.worker_report import REPORTS, WorkerReport

LOOK_EVERY = 0.01  # seconds
LAST = 2.0  # seconds that the others have to ask for the last time


class InternalAccessLog(AccessLog):
    """Counts refusals, whose reasons are known here alone, and not requests."""

    def answered(self, request: RequestHead, route: str, status: int, began: float) -> None:
        """Leave that to the worker that took the request."""


class InternalApi:
    """The service as the other workers see it, as ASGI."""

    def __init__(self, app: ASGIApp, hub: Aggregator) -> None:
        self._app = app
        self._hub = hub
        self._decode = msgspec.msgpack.Decoder(WorkerReport).decode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a report, or answer a request that was passed on."""
        if scope["path"] != REPORTS:
            await self._app(scope, receive, send)
            return
        body = b"".join([piece async for piece in Request(scope, receive).chunks()])
        self._hub.put(self._decode(body))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class _Server(Server):
    """A server that leaves signals to the one that faces clients."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them."""
        yield


@contextlib.asynccontextmanager
async def listening(
    app: InternalApi, socket: Path, connection: Callable[..., ClientConnection], settings: HttpSettings
) -> AsyncIterator[None]:
    """Listen on a Unix socket as long as the block lasts, and then until the others have ended too, or for a little while.

    Raises:
        SettingError: there can be no such socket.
    """
    # Nothing is added to an answer, since the worker that passes it back does that.
    server = _Server(uvicorn_config(app, connection, settings, uds=str(socket), date_header=False, timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve())
    while not server.started:
        if task.done():
            raise SettingError(f"cannot listen on {socket}: TMPDIR names another folder") from task.exception()
        await asyncio.sleep(LOOK_EVERY)
    try:
        yield
    finally:
        for _ in range(int(LAST / LOOK_EVERY)):
            if server.server_state.connections:
                await asyncio.sleep(LOOK_EVERY)
        server.should_exit = True
        await task
