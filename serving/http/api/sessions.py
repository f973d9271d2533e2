"""Sessions: a series whose rows arrive request by request, scored as if they were the rows of one file.

`serving.http.models.sessions` holds the state. With several workers only worker 0 does; the others forward these routes.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from detector.cells import category_text
from detector.series import in_words
from serving.http.api.query_params import wishes_of
from serving.http.api.score import Scoring
from serving.http.core.concurrency import ConcurrencyLimiter
from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import Request, RequestHead
from serving.http.core.response import Response, json_response
from serving.http.core.settings import HttpSettings
from serving.http.models.model import Model
from serving.http.models.sessions import LONGEST, Address, Held, Sessions


class SessionState(msgspec.Struct, frozen=True):
    """The state of a session, from which the next request continues."""

    model: str
    version: int
    session: str
    rows: Annotated[int, Meta(description="Rows that are kept, at most a window of them.")]
    window: int
    newest: Annotated[str | None, Meta(description="The time of the newest row.")]
    alarm: bool
    idle_seconds: float


class SessionsApi:
    """The routes of sessions."""

    def __init__(self, sessions: Sessions, scoring: Scoring, limiter: ConcurrencyLimiter, settings: HttpSettings) -> None:
        self._sessions = sessions
        self._scoring = scoring
        self._limiter = limiter
        self._settings = settings

    async def score(self, request: Request) -> Response:
        """Score rows that follow those of earlier requests; the session changes once all of them are scored."""
        address = _address(request)
        judge = self._scoring.in_session(request.content_type)
        wishes = wishes_of(request.query, request.content_type)
        await self._model(request)
        body = await request.body(self._settings.max_body)
        async with self._sessions.turn(address) as held:
            model = await self._model(request)  # which may be another version by now
            run = held.run(model, address.key)
            response = await self._limiter.run(request, len(body), lambda: judge(body, model, wishes, request.id, run))
            held.keep(run, model)
        return response

    async def describe(self, request: Request) -> Response:
        """Return the state of a session."""
        address = _address(request)
        model = await self._model(request)
        return json_response(self._state(address, model, self._find(address)))

    async def end(self, request: Request) -> Response:
        """Forget a session, and return its last state."""
        address = _address(request)
        model = await self._model(request)
        async with self._sessions.turn(address) as held:
            state = self._state(address, model, self._find(address))
            self._sessions.end(address, held)
        return json_response(state)

    def _state(self, address: Address, model: Model, held: Held) -> SessionState:
        manifest = model.scorer.manifest
        state = held.state(manifest)
        return SessionState(
            model=model.name,
            version=model.version,
            session=address.key,
            rows=min(state.seen, len(state.rows)) if state else 0,
            window=manifest.window.length if manifest.window else 0,
            newest=in_words(np.array([state.time]))[0] if state else None,
            alarm=state.alarm.is_on if state else False,
            idle_seconds=round(self._sessions.idle(held), 3),
        )

    def _find(self, address: Address) -> Held:
        held = self._sessions.find(address)
        if held is None:
            raise HttpProblem(404, "session", f"there is no session {address.key!r}; POST its rows first")
        return held

    async def _model(self, request: RequestHead) -> Model:
        model = await self._scoring.requested_model(request)
        if model.scorer.manifest.window is None:
            detail = f"{model.name} scores single rows and has no sessions; POST /v1/models/{model.name}/score instead"
            raise HttpProblem(404, "session", detail)
        return model


def _address(request: RequestHead) -> Address:
    """Return the address of a session; blanks around a key are ignored, as in files."""
    params = request.path_params
    key = category_text(params["key"])
    if not key or len(params["key"]) > LONGEST:
        detail = f"the key of a session must have 1 to {LONGEST} characters, and not only blanks"
        raise HttpProblem(422, "session", detail, found=key[:80])
    return Address(params["name"], params.get("version"), key)
