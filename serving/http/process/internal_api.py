"""What worker 0 offers to the other workers: the same API on a private Unix socket, and a route for their reports.

The worker that receives a request from a client checks its token and counts it.
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
from serving.http.models.aggregator import Aggregator
from serving.http.models.worker_report import WorkerReport
from serving.http.process.uvicorn_config import uvicorn_config

REPORTS_PATH = "/reports"
POLL_INTERVAL = 0.01  # seconds
CLOSE_TIMEOUT = 2.0  # seconds that the other workers have for their last requests


class InternalAccessLog(AccessLog):
    """Counts refusals, whose reasons only this worker knows, but not requests."""

    def record_response(self, request: RequestHead, route: str, status: int, began: float) -> None:
        """Do nothing: the worker that received the request counts it."""


class InternalApi:
    """The ASGI app for the other workers."""

    def __init__(self, app: ASGIApp, aggregator: Aggregator) -> None:
        self._app = app
        self._aggregator = aggregator
        self._decode = msgspec.msgpack.Decoder(WorkerReport).decode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Receive a report, or answer a forwarded request."""
        if scope["path"] != REPORTS_PATH:
            await self._app(scope, receive, send)
            return
        body = b"".join([chunk async for chunk in Request(scope, receive).chunks()])
        self._aggregator.add(self._decode(body))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class _InternalServer(Server):
    """A server that leaves signals to the server for clients."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handler."""
        yield


@contextlib.asynccontextmanager
async def serve_internal_api(
    app: InternalApi, socket: Path, connection: Callable[..., ClientConnection], settings: HttpSettings
) -> AsyncIterator[None]:
    """Serve on a Unix socket while the block runs, and then until the other workers disconnect or `CLOSE_TIMEOUT` passes.

    Raises:
        SettingError: the socket cannot be created.
    """
    # No headers are added: the worker that passes the response on adds them.
    config = uvicorn_config(app, connection, settings, uds=str(socket), date_header=False, timeout_graceful_shutdown=1)
    server = _InternalServer(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        if task.done():
            raise SettingError(f"cannot listen on {socket}; set TMPDIR to another folder") from task.exception()
        await asyncio.sleep(POLL_INTERVAL)
    try:
        yield
    finally:
        for _ in range(int(CLOSE_TIMEOUT / POLL_INTERVAL)):
            if server.server_state.connections:
                await asyncio.sleep(POLL_INTERVAL)
        server.should_exit = True
        await task
