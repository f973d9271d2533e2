"""Sessions as routes: a series whose rows come request by request, judged as if they had come in one file.

`sessions` holds what is remembered. In a service of several workers the first one alone does: the others pass these routes on.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from detector.cells import category_text
from detector.series import in_words
from serving.http.api.query_params import wishes_of
from serving.http.api.score import Scoring
from serving.http.core.concurrency import ConcurrencyLimiter
from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import Request as HttpRequest
from serving.http.core.response import JSON
from serving.http.core.settings import HttpSettings
from serving.http.models.model import Model
from serving.http.models.sessions import LONGEST, Address, Held, Sessions


class Series:
    """Answers what is asked of sessions."""

    def __init__(self, sessions: Sessions, scoring: Scoring, limiter: ConcurrencyLimiter, settings: HttpSettings) -> None:
        self._sessions = sessions
        self._scoring = scoring
        self._limiter = limiter
        self._settings = settings

    async def answer(self, request: Request) -> Response:
        """Judge rows, tell how a session stands, or end it."""
        address = _address(request)
        match request.method:
            case "POST":
                with self._limiter.admitted():
                    return await self._judge(request.scope["incoming"], address)
            case "DELETE":
                return await self._end(address)
            case _:
                model = await self._model(address)
                return _json(self._told(address, model, self._known(address)))

    async def _judge(self, request: HttpRequest, address: Address) -> Response:
        """Judge rows that follow those of the requests before; what is remembered changes when all of them are judged."""
        judge = self._scoring.in_session(request.content_type)
        wishes = wishes_of(request.query, request.content_type)
        await self._model(address)
        body = await request.body(self._settings.max_body)
        async with self._sessions.turn(address) as held:
            model = await self._model(address)  # which may be another by now
            run = held.run(model, address.key)
            reply = await self._limiter.run(request, len(body), lambda: judge(body, model, wishes, request.id, run))
            held.keep(run, model)
        return Response(reply.body, reply.status, media_type=reply.content_type.decode())

    async def _end(self, address: Address) -> Response:
        """Forget a session; tells how it stood."""
        model = await self._model(address)
        async with self._sessions.turn(address) as held:
            told = self._told(address, model, self._known(address))
            self._sessions.end(address, held)
        return _json(told)

    def _told(self, address: Address, model: Model, held: Held) -> dict[str, Any]:
        """Say how a session stands, which is how the next request finds it."""
        manifest = model.scorer.manifest
        state = held.state(manifest)
        return {
            "model": model.name,
            "version": model.version,
            "session": address.key,
            "rows": min(state.seen, len(state.rows)) if state else 0,
            "window": manifest.window.length if manifest.window else 0,
            "newest": in_words(np.array([state.time]))[0] if state else None,
            "alarm": state.alarm.is_on if state else False,
            "idle_seconds": round(self._sessions.idle(held), 3),
        }

    def _known(self, address: Address) -> Held:
        """Give a session that there is."""
        held = self._sessions.find(address)
        if held is None:
            raise HttpProblem(404, "session", f"nothing is remembered of {address.key!r}: POST its rows first")
        return held

    async def _model(self, address: Address) -> Model:
        """Give the model that answers."""
        model = await self._scoring.model(address.name, address.version)
        if model.scorer.manifest.window is None:
            raise HttpProblem(
                404, "session", f"{model.name} judges single rows, and remembers none: POST /v1/models/{model.name}/score"
            )
        return model


def _address(request: Request) -> Address:
    """Read where a session is asked; a key is known by its text without blanks around it, as in files."""
    said = request.path_params
    key = category_text(said["key"])
    if not key or len(said["key"]) > LONGEST:
        raise HttpProblem(422, "session", f"the key of a session has 1 to {LONGEST} characters, and is not blank", found=key[:80])
    return Address(said["name"], said.get("version"), key)


def _json(said: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(said), media_type=JSON.decode())
