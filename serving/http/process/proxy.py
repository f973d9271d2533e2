"""The way to worker 0, over its Unix socket: requests that it alone can answer are passed on, and reports are handed in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import httpcore
import msgspec
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from serving.http.core.problem_details import ClientGone, HttpProblem
from serving.http.core.readiness import Readiness
from serving.http.core.request import Request
from serving.http.core.response import Header
from serving.http.core.settings import HttpSettings
from serving.http.process.worker_report import REPORTS, WorkerReport

CONNECT = 1.0  # seconds
KEPT = 5.0  # seconds that a connection is kept; less than worker 0 keeps it
# RFC 9110, section 7.6.1; and what the other side is not to know, or is told anew.
NOT_PASSED_ON = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"authorization",
        b"expect",
        b"host",
        b"x-request-id",
    )
)
AWAY = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.RemoteProtocolError)


class Proxy:
    """Asks worker 0."""

    def __init__(self, socket: Path, state: Readiness, settings: HttpSettings) -> None:
        self._state = state
        self._pool = httpcore.AsyncConnectionPool(
            uds=str(socket), max_connections=settings.max_requests, keepalive_expiry=min(KEPT, settings.idle_timeout / 2)
        )
        wait = settings.idle_timeout
        self._patience = {"timeout": {"connect": CONNECT, "pool": CONNECT, "read": wait, "write": wait}}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, as ASGI has it, and its answer back, both while they come.

        Raises:
            HttpProblem: worker 0 is not there.
            ClientGone: the client has left, or worker 0 in the middle of the answer, which is then broken off.
        """
        request: Request = scope["incoming"]  # whose name is the one that the client is told
        headers = [*_passed_on(scope["headers"]), (b"x-request-id", request.id.encode())]
        there = b"content-length" in request.headers or b"transfer-encoding" in request.headers
        body = request.chunks() if there else None
        target = scope["raw_path"] + (b"?" + request.query if request.query else b"")
        try:
            async with self._pool.stream(
                request.method, _url(target), headers=headers, content=body, extensions=self._patience
            ) as got:
                await self._pass_back(got, request, scope, receive, send)
        except httpcore.LocalProtocolError as error:
            raise HttpProblem(400, "http", "a header of the request is not such as HTTP has them") from error
        except AWAY as error:
            raise HttpProblem(503, "away", "worker 0, which alone knows this, does not answer") from error

    async def tell(self, report: WorkerReport) -> bool:
        """Hand a report in; tells whether it was taken."""
        try:
            content = msgspec.msgpack.encode(report)
            answer = await self._pool.request("POST", _url(REPORTS.encode()), content=content, extensions=self._patience)
        except AWAY:
            return False
        return answer.status == 204  # noqa: PLR2004 - no content

    async def aclose(self) -> None:
        """Ask no more."""
        await self._pool.aclose()

    async def _pass_back(self, got: httpcore.Response, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an answer back."""
        answer = StreamingResponse(self._pieces(got), got.status)
        answer.raw_headers = list(_passed_on(got.headers))
        try:
            await answer(scope, receive, send)
        except AWAY:
            request.abort()
            raise ClientGone from None

    async def _pieces(self, got: httpcore.Response) -> AsyncIterator[bytes]:
        """Give an answer as it comes; one without an end ends when this worker does."""
        endless = (b"content-type", b"text/event-stream; charset=utf-8") in got.headers
        async for piece in got.aiter_stream():
            yield piece
            if endless and self._state.draining:
                return


def _passed_on(headers: Iterable[Header]) -> Iterable[Header]:
    """Give the headers that are for the other end."""
    return (header for header in headers if header[0].lower() not in NOT_PASSED_ON)


def _url(target: bytes) -> httpcore.URL:
    return httpcore.URL(scheme=b"http", host=b"worker-0", port=None, target=target)
