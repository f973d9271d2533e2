"""A request from its first byte to its last: let in, routed, answered, counted, and never with a traceback."""

from __future__ import annotations

import asyncio
import random
import time

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from serving.http.gate import Gate
from serving.http.metrics import Metrics
from serving.http.ndjson import error_line
from serving.http.problem import ClientGone, Problem
from serving.http.reply import Header, Reply
from serving.http.request import Request
from serving.http.routes import Routes
from serving.http.scoring import Scoring, Stream
from serving.http.settings import Settings
from serving.http.tokens import Tokens
from serving.http.trace import trace_id
from serving.log import fault, log

LEFT = 499  # as nginx has it: the client went before its answer


class App:
    """The service, as ASGI. The hot route is found here; all others are starlette's."""

    def __init__(
        self, scoring: Scoring, routes: Routes, gate: Gate, metrics: Metrics, tokens: Tokens | None, settings: Settings
    ) -> None:
        self._scoring = scoring
        self._routes = routes
        self._gate = gate
        self._metrics = metrics
        self._tokens = tokens
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, count it and note it down."""
        began = time.perf_counter()
        request = Request(scope, receive)
        route, status = "none", LEFT
        try:
            if self._tokens:
                self._tokens.check(request)
            target = hot(request)
            if target:
                route, name, version = target
                ask = self._scoring.answer if route == "score" else self._scoring.infer
                with self._gate.entered():
                    reply = await ask(request, name, version)
                    if isinstance(reply, Reply):
                        status = await _send(reply, request, send)
                    else:
                        status = await self._stream(reply, request, send)
            else:
                status = await self._others(scope, receive, send, request)
                route = scope["route"].path
        except ClientGone:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, a client learns no more than `_problem` says
            problem = self._problem(error, request)
            self._metrics.refused(problem.reason)
            status = await _send(problem.reply(request.id, in_v2=request.path.startswith("/v2")), request, send)
        seconds = time.perf_counter() - began
        self._metrics.answered(route, status, seconds)
        if self._settings.access_share > random.random():  # noqa: S311 - a sample, no secret
            self._note(request, route, status, seconds)

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
                async with asyncio.timeout(self._settings.idle_timeout):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            self._metrics.refused("unread")
            request.abort()
            return LEFT
        except ClientGone:
            raise
        except Exception as error:
            if not started:
                raise
            problem = self._problem(error, request)
            self._metrics.refused(problem.reason)
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

        await self._routes(scope, receive, noting)
        return status

    def _problem(self, error: Exception, request: Request) -> Problem:
        """Say what a client may know of an error."""
        match error:
            case Problem():
                return error
            case HTTPException():  # starlette's: no such method here
                headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
                return Problem(error.status_code, "route", error.detail, headers=headers)
            case _:
                log().error("fault", request_id=request.id, path=request.path, **fault(error))
                return Problem(500, "fault", "this is a fault of the service; its log says more under the request's id")

    def _note(self, request: Request, route: str, status: int, seconds: float) -> None:
        """Write a line of the access log."""
        more = {"trace_id": found} if (found := trace_id(request.headers)) else {}
        log().info(
            "request",
            request_id=request.id,
            method=request.method,
            path=request.path,
            route=route,
            status=status,
            seconds=round(seconds, 6),
            **more,
        )


def hot(request: Request) -> tuple[str, str, str | None] | None:
    """Give route, name and version if rows are to be scored; None for any other route."""
    if request.method != "POST":
        return None
    match request.path.split("/"):
        case ["", "v1", "models", name, "score"]:
            return "score", name, None
        case ["", "v1", "models", name, "versions", version, "score"]:
            return "score", name, version
        case ["", "v2", "models", name, "infer"]:
            return "infer", name, None
        case ["", "v2", "models", name, "versions", version, "infer"]:
            return "infer", name, version
    return None


async def _send(reply: Reply, request: Request, send: Send) -> int:
    """Send a whole answer; gives its status."""
    await send(_head(reply.status, reply.content_type, request, (b"content-length", b"%d" % len(reply.body)), *reply.headers))
    await send({"type": "http.response.body", "body": reply.body})
    return reply.status


def _head(status: int, content_type: bytes, request: Request, *more: Header) -> Message:
    """Give the head of an answer."""
    headers = [(b"content-type", content_type), (b"x-request-id", request.id.encode()), *more]
    return {"type": "http.response.start", "status": status, "headers": headers}
