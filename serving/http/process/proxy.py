"""The way to worker 0, over its Unix socket: forwards the requests that only worker 0 can answer, and sends reports."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

import httpcore
import msgspec

from serving.http.core.concurrency import ConcurrencyLimiter
from serving.http.core.problem_details import ClientGone, HttpProblem
from serving.http.core.readiness import Readiness
from serving.http.core.request import Header, Request
from serving.http.core.response import StreamedResponse, until_disconnected
from serving.http.core.settings import HttpSettings
from serving.http.models.worker_report import WorkerReport
from serving.http.process.internal_api import REPORTS_PATH

CONNECT_TIMEOUT = 1.0  # seconds
KEEP_ALIVE = 5.0  # seconds; less than worker 0's
HOST = b"worker-0"
NO_CONTENT = 204
# The hop-by-hop headers of RFC 9110, section 7.6.1; the token, which is checked already; and what is set anew.
NOT_FORWARDED = frozenset(
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
OF_THE_BODY = frozenset((b"content-length", b"content-encoding"))  # as the client sent it; it is forwarded decompressed
UNAVAILABLE = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.RemoteProtocolError)


class Proxy:
    """A client of worker 0's internal API."""

    def __init__(self, socket: Path, readiness: Readiness, limiter: ConcurrencyLimiter, settings: HttpSettings) -> None:
        self._readiness = readiness
        self._limiter = limiter
        self._max_body = settings.max_body
        keep_alive = min(KEEP_ALIVE, settings.idle_timeout / 2)
        self._pool = httpcore.AsyncConnectionPool(
            uds=str(socket), max_connections=settings.max_requests, keepalive_expiry=keep_alive
        )
        timeout = settings.idle_timeout
        self._extensions = {"timeout": {"connect": CONNECT_TIMEOUT, "pool": CONNECT_TIMEOUT, "read": timeout, "write": timeout}}

    async def forward(self, request: Request) -> StreamedResponse:
        """Forward a request once its body is complete, so that slow clients hold no connection; return the response as it comes.

        Raises:
            HttpProblem: worker 0 does not respond, or the body is too large or cannot be decompressed.
            ClientGone: the client has disconnected, or, while the response is read, worker 0 has; the connection to the
                client is then closed.
        """
        scope = request.scope
        sent = (header for header in scope["headers"] if header[0] not in OF_THE_BODY)
        headers = [*_forwarded(sent), (b"host", HOST), (b"x-request-id", request.id.encode())]
        body = await self._limiter.receive(request, self._max_body)
        if body or b"content-length" in request.headers:
            headers.append((b"content-length", b"%d" % len(body)))
        target = scope["raw_path"] + (b"?" + request.query if request.query else b"")
        forwarded = httpcore.Request(
            request.method,
            _url(target),
            headers=headers,
            content=body,
            extensions=self._extensions,
        )
        try:
            response = await self._pool.handle_async_request(forwarded)
        except httpcore.LocalProtocolError as error:
            raise HttpProblem(400, "http", "a header of the request is invalid") from error
        except UNAVAILABLE as error:
            raise HttpProblem(503, "away", "worker 0, which answers this route, does not respond") from error
        is_endless = (b"content-type", b"text/event-stream; charset=utf-8") in response.headers
        chunks = self._chunks(response, request, is_endless=is_endless)
        if is_endless:
            chunks = until_disconnected(chunks, request)
        return StreamedResponse(chunks, b"", response.status, list(_forwarded(response.headers)))

    async def send_report(self, report: WorkerReport) -> bool:
        """Send a report; returns whether it arrived."""
        try:
            content = msgspec.msgpack.encode(report)
            response = await self._pool.request("POST", _url(REPORTS_PATH.encode()), content=content, extensions=self._extensions)
        except UNAVAILABLE:
            return False
        return response.status == NO_CONTENT

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def _chunks(self, response: httpcore.Response, request: Request, *, is_endless: bool) -> AsyncGenerator[bytes, None]:
        """Yield a response as it arrives; an endless one ends when this worker shuts down."""
        try:
            async for chunk in response.aiter_stream():
                yield chunk
                if is_endless and self._readiness.closing:
                    return
        except UNAVAILABLE:
            request.abort()
            raise ClientGone from None
        finally:
            await response.aclose()


def _forwarded(headers: Iterable[Header]) -> Iterable[Header]:
    """Yield the headers that are meant for the other end."""
    return (header for header in headers if header[0].lower() not in NOT_FORWARDED)


def _url(target: bytes) -> httpcore.URL:
    return httpcore.URL(scheme=b"http", host=HOST, port=None, target=target)
