"""A request from its first byte to its last: let in, routed, answered, and never with a traceback."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from serving.http.gate import Gate
from serving.http.problem import ClientGone, Problem
from serving.http.reply import Reply
from serving.http.request import Request
from serving.http.routes import Routes
from serving.http.scoring import Scoring


class App:
    """The service, as ASGI. The hot route is found here; all others are starlette's."""

    def __init__(self, scoring: Scoring, routes: Routes, gate: Gate) -> None:
        self._scoring = scoring
        self._routes = routes
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":  # websockets: there are none
            return
        request = Request(scope, receive, "")
        try:
            reply = await self._answer(request, scope, receive, send)
        except Problem as problem:
            reply = problem.reply(request.id)
        except HTTPException as error:  # starlette's: no such method here
            reply = Problem(error.status_code, "route", error.detail).reply(request.id)
        except ClientGone:
            return
        except Exception:  # noqa: BLE001 - whatever it is, a client learns no more than this
            reply = Problem(500, "bug", "this is a fault of the service, and its log says more").reply(request.id)
        if reply:
            await _send(reply, send)

    async def _answer(self, request: Request, scope: Scope, receive: Receive, send: Send) -> Reply | None:
        """Give the answer; None where starlette sent it."""
        target = scored(request)
        if target is None:
            await self._routes(scope, receive, send)
            return None
        with self._gate.entered():
            return await self._scoring.answer(request, *target)


def scored(request: Request) -> tuple[str, str | None] | None:
    """Give name and version if rows are to be scored; None for any other route."""
    if request.method != "POST":
        return None
    match request.path.split("/"):
        case ["", "v1", "models", name, "score"]:
            return name, None
        case ["", "v1", "models", name, "versions", version, "score"]:
            return name, version
    return None


async def _send(reply: Reply, send: Send) -> None:
    """Send a whole answer."""
    length = b"%d" % len(reply.body)
    headers = [(b"content-type", reply.content_type), (b"content-length", length), *reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
