"""Sessions: a series whose rows arrive request by request, scored as if they were the rows of one file.

`serving.http.models.sessions` holds the state. With several workers only worker 0 does; the others forward these routes.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from detector.cells import category_text
from detector.inputs import SeriesInput
from detector.inputs.series import time_texts
from serving.http.api.score import ScoringApi
from serving.http.core.concurrency import ConcurrencyLimiter
from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import Request, RequestHead
from serving.http.core.response import Response, json_response
from serving.http.core.settings import HttpSettings
from serving.http.models.sessions import MAX_KEY_LENGTH, SessionAddress, SessionStore, StoredSession
from serving.model import ServedModel


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

    def __init__(self, sessions: SessionStore, scoring: ScoringApi, limiter: ConcurrencyLimiter, settings: HttpSettings) -> None:
        self._sessions = sessions
        self._scoring = scoring
        self._limiter = limiter
        self._settings = settings

    async def score(self, request: Request) -> Response:
        """Score rows that follow those of earlier requests; the session changes once all of them are scored."""
        address = _address(request)
        self._scoring.session_codec(request)  # raises before the body is read
        await self._model(request)
        body = await self._limiter.receive(request, self._settings.max_body)
        with self._limiter.admitted():
            return await self._score_in_turn(request, address, body)

    async def _score_in_turn(self, request: Request, address: SessionAddress, body: bytes) -> Response:
        async with self._sessions.turn(address) as stored:
            model = await self._model(request)  # another version may answer by now
            session = stored.resume(model, address.key)
            response = await self._scoring.score_in_session(request, model, body, session)
            stored.save(session, model)
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
        async with self._sessions.turn(address) as stored:
            state = self._state(address, model, self._find(address))
            self._sessions.end(address, stored)
        return json_response(state)

    def _state(self, address: SessionAddress, model: ServedModel, stored: StoredSession) -> SessionState:
        manifest = model.scorer.manifest
        state = stored.state(manifest)
        return SessionState(
            model=model.name,
            version=model.version,
            session=address.key,
            rows=min(state.seen, len(state.buffer)) if state else 0,
            window=manifest.window.length if manifest.window else 0,
            newest=time_texts(np.array([state.time]))[0] if state else None,
            alarm=state.alarm.is_on if state else False,
            idle_seconds=round(self._sessions.idle_seconds(stored), 3),
        )

    def _find(self, address: SessionAddress) -> StoredSession:
        stored = self._sessions.find(address)
        if stored is None:
            raise HttpProblem(404, "session", f"there is no session {address.key!r}; POST its rows first")
        return stored

    async def _model(self, request: RequestHead) -> ServedModel:
        model = await self._scoring.requested_model(request)
        if not isinstance(model.scorer.input, SeriesInput):
            detail = f"{model.name} scores single rows and has no sessions; POST /v1/models/{model.name}/score instead"
            raise HttpProblem(404, "session", detail)
        return model


def _address(request: RequestHead) -> SessionAddress:
    """Return the address of a session; blanks around a key are ignored, as in files."""
    params = request.path_params
    key = category_text(params["key"])
    if not key or len(params["key"]) > MAX_KEY_LENGTH:
        detail = f"the key of a session must have 1 to {MAX_KEY_LENGTH} characters, and not only blanks"
        raise HttpProblem(422, "session", detail, found=key[:80])
    return SessionAddress(params["name"], params.get("version"), key)
