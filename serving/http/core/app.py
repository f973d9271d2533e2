"""The ASGI app: authorises, routes, answers and records every request that the fast path does not take."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence

from starlette.types import Message, Receive, Scope, Send

from serving.http.core.access_log import CLIENT_CLOSED, AccessLog
from serving.http.core.authentication import TokenAuthentication, authorise
from serving.http.core.concurrency import ConcurrencyLimiter
from serving.http.core.origins import OriginPolicy
from serving.http.core.problem_details import ClientGone
from serving.http.core.request import Header, Request
from serving.http.core.response import AnyResponse, Response, StreamedResponse, problem_response
from serving.http.core.routing import NO_ROUTE, Route, RouteTable

Forward = Callable[[Request], Awaitable[AnyResponse]]


class App:
    """The service as an ASGI app; `forward` sends a request to worker 0, and is None in worker 0 itself."""

    def __init__(
        self,
        routes: RouteTable,
        limiter: ConcurrencyLimiter,
        access_log: AccessLog,
        tokens: TokenAuthentication | None,
        origins: OriginPolicy | None,
        *,
        send_timeout: float,
        forward: Forward | None = None,
    ) -> None:
        self._routes = routes
        self._limiter = limiter
        self._access_log = access_log
        self._tokens = tokens
        self._origins = origins
        self._send_timeout = send_timeout
        self._forward = forward

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and record it."""
        began = time.perf_counter()
        request = Request(scope, receive)
        label, status = NO_ROUTE, CLIENT_CLOSED
        try:
            match = self._routes.find(request.method, request.path)
            label, request.path_params = match.label, match.path_params
            if self._origins:
                self._origins.require(request)
            authorise(self._tokens, request, match.role)
            route = match.require_route(request)
            route.require_content_type(request)
            status = await self._answer(route, request, send)
        except ClientGone:
            pass
        except Exception as error:  # noqa: BLE001 - the access log decides what the client may know
            problem = self._access_log.record_error(error, request)
            status = await self._send(problem_response(problem, request), request, send)
        self._access_log.record_response(request, label, status, began)

    async def _answer(self, route: Route, request: Request, send: Send) -> int:
        """Answer a request on its route; returns the status."""
        forwarded = route.on_worker_0 and self._forward is not None
        handler = self._forward if forwarded and self._forward else route.handler
        with self._limiter.admitted() if route.limited and not forwarded else contextlib.nullcontext():
            response = await handler(request)
            if isinstance(response, StreamedResponse):
                return await self._stream(response, request, send)
            return await self._send(response, request, send)

    async def _send(self, response: Response, request: Request, send: Send) -> int:
        """Send a complete response; returns its status. Drop a client that does not read in time."""
        length = (b"content-length", b"%d" % len(response.body))
        try:
            async with asyncio.timeout(self._send_timeout):
                await send(_start(response, request, [(b"content-type", response.content_type), length]))
                await send({"type": "http.response.body", "body": response.body})
        except TimeoutError:
            return self._drop(request)
        return response.status

    async def _stream(self, response: StreamedResponse, request: Request, send: Send) -> int:
        """Send a response while it is produced; returns its status, or that of the error that cut it short.

        A response that an error cuts short is left unfinished, so that uvicorn closes the connection after it.
        """
        started = False
        try:
            async with contextlib.aclosing(response.chunks) as chunks:
                async for chunk in chunks:
                    request.require_connected()
                    async with asyncio.timeout(self._send_timeout):
                        if not started:
                            started = True
                            await send(_stream_start(response, request))
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if not started:
                await send(_stream_start(response, request))
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            return self._drop(request)
        except ClientGone:
            raise
        except Exception as error:
            if not started:
                raise
            problem = self._access_log.record_error(error, request)
            if response.encode_error is None:
                request.abort()
            else:
                last = response.encode_error(problem, request.id)
                await send({"type": "http.response.body", "body": last, "more_body": True})
            return problem.status
        return response.status

    def _drop(self, request: Request) -> int:
        self._access_log.record_dropped("unread")
        request.abort()
        return CLIENT_CLOSED


def _start(response: AnyResponse, request: Request, headers: Sequence[Header]) -> Message:
    """Return the message that starts a response."""
    named = [*headers, (b"x-request-id", request.id.encode()), *response.headers]
    return {"type": "http.response.start", "status": response.status, "headers": named}


def _stream_start(response: StreamedResponse, request: Request) -> Message:
    """Return the message that starts a streamed response; a forwarded one has its content type among its headers."""
    return _start(response, request, [(b"content-type", response.content_type)] if response.content_type else [])
