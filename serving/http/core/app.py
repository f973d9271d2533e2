"""A request from its first byte to its last: let in, routed, answered, counted, and never with a traceback."""

from __future__ import annotations

import asyncio
import time

from starlette.types import Message, Receive, Scope, Send

from serving.codecs.ndjson import error_line
from serving.http.api.routes import Routes
from serving.http.api.score import Scoring, Stream
from serving.http.core.access_log import LEFT, AccessLog
from serving.http.core.authentication import TokenAuthentication
from serving.http.core.concurrency import ConcurrencyLimiter
from serving.http.core.hot_routes import scoring_target
from serving.http.core.problem_details import ClientGone
from serving.http.core.request import Request, RequestHead
from serving.http.core.response import Header, Response
from serving.http.core.settings import HttpSettings


class App:
    """The service, as ASGI: large bodies and streams of rows; all other routes are starlette's. Small bodies: `shortcut`."""

    def __init__(
        self,
        scoring: Scoring,
        routes: Routes,
        limiter: ConcurrencyLimiter,
        ledger: AccessLog,
        tokens: TokenAuthentication | None,
        settings: HttpSettings,
    ) -> None:
        self._scoring = scoring
        self._routes = routes
        self._limiter = limiter
        self._ledger = ledger
        self._tokens = tokens
        self._patience = settings.idle_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, count it and note it down."""
        began = time.perf_counter()
        request = Request(scope, receive)
        route, status = "none", LEFT
        try:
            if self._tokens:
                self._tokens.check(request)
            target = scoring_target(request.path) if request.method == "POST" else None
            if target:
                route = target.route
                ask = self._scoring.answer if route == "score" else self._scoring.infer
                with self._limiter.admitted():
                    reply = await ask(request, target.name, target.version)
                    if isinstance(reply, Response):
                        status = await self._send(reply, request, send)
                    else:
                        status = await self._stream(reply, request, send)
            else:
                status = await self._others(scope, receive, send, request)
                route = scope["route"].path
        except ClientGone:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, a client learns no more than the ledger says
            problem = self._ledger.refused(error, request)
            status = await self._send(problem.reply(request.id, in_v2=request.path.startswith("/v2")), request, send)
        self._ledger.answered(request, route, status, began)

    async def _send(self, reply: Response, request: Request, send: Send) -> int:
        """Send a whole answer; gives its status. A client that does not read what it asked for before is dropped."""
        try:
            async with asyncio.timeout(self._patience):
                length = (b"content-length", b"%d" % len(reply.body))
                await send(_head(reply.status, reply.content_type, request, length, *reply.headers))
                await send({"type": "http.response.body", "body": reply.body})
        except TimeoutError:
            self._ledger.dropped("unread")
            request.abort()
            return LEFT
        return reply.status

    async def _stream(self, stream: Stream, request: Request, send: Send) -> int:
        """Send an answer while it is made; gives its status, or that of the fault that cut it short.

        A body that is not ended here makes uvicorn drop the connection, once what was sent is out.
        """
        started = False
        try:
            async for piece in stream.pieces:
                if not started:
                    await send(_head(200, stream.content_type, request))
                    started = True
                async with asyncio.timeout(self._patience):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            self._ledger.dropped("unread")
            request.abort()
            return LEFT
        except ClientGone:
            raise
        except Exception as error:
            if not started:
                raise
            problem = self._ledger.refused(error, request)
            await send({"type": "http.response.body", "body": error_line(problem, request.id), "more_body": True})
            return problem.status
        return 200

    async def _others(self, scope: Scope, receive: Receive, send: Send, request: Request) -> int:
        """Let starlette answer; gives the status."""
        status = LEFT

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request.id.encode())]
            await send(message)

        scope["incoming"] = request
        await self._routes(scope, receive, noting)
        return status


def _head(status: int, content_type: bytes, request: RequestHead, *more: Header) -> Message:
    """Give the head of an answer."""
    headers = [(b"content-type", content_type), (b"x-request-id", request.id.encode()), *more]
    return {"type": "http.response.start", "status": status, "headers": headers}
