"""The ASGI app: authorises, routes, answers and records every request that the fast path does not take."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from starlette.types import Message, Receive, Scope, Send

from serving.http.core.access_log import CLIENT_CLOSED, AccessLog
from serving.http.core.authentication import TokenAuthentication, authorise
from serving.http.core.concurrency import ConcurrencyLimiter
from serving.http.core.content_coding import StreamCompressor, response_coding
from serving.http.core.origins import OriginPolicy
from serving.http.core.problem_details import ClientGone
from serving.http.core.request import Header, Request
from serving.http.core.response import AnyResponse, Response, StreamedResponse, compressed, problem_response
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
            request.require_codings()
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
        response = await handler(request)
        if isinstance(response, StreamedResponse):
            return await self._stream(response, request, send)
        compress = partial(compressed, response, request.headers)
        return await self._send(await self._limiter.run_step(len(response.body), compress), request, send)

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
        started, compressor = False, None
        try:
            async with contextlib.aclosing(response.chunks) as chunks:
                async for chunk in chunks:
                    request.require_connected()
                    if not started:
                        compressor, response = _compressing(response, chunk, request)
                    body = compressor.compress(chunk) if compressor else chunk
                    async with asyncio.timeout(self._send_timeout):
                        if not started:
                            started = True
                            await send(_stream_start(response, request))
                        await send({"type": "http.response.body", "body": body, "more_body": True})
            if not started:
                await send(_stream_start(response, request))
            await send({"type": "http.response.body", "body": compressor.finish() if compressor else b""})
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
                last = compressor.compress(last) if compressor else last
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
    if request.awaits_continue:
        named.append((b"connection", b"close"))
    return {"type": "http.response.start", "status": response.status, "headers": named}


def _compressing(response: StreamedResponse, chunk: bytes, request: Request) -> tuple[StreamCompressor | None, StreamedResponse]:
    """Return what compresses a response that begins with a chunk, if anything does, and the response with its headers."""
    accept_encoding = request.headers.get(b"accept-encoding", b"")
    coding = response_coding(chunk, response.content_type, response.headers, accept_encoding)
    if not coding:
        return None, response
    headers = [*response.headers, (b"content-encoding", coding.encode())]
    return StreamCompressor(coding), response._replace(headers=headers)


def _stream_start(response: StreamedResponse, request: Request) -> Message:
    """Return the message that starts a streamed response; a forwarded one has its content type among its headers."""
    return _start(response, request, [(b"content-type", response.content_type)] if response.content_type else [])
