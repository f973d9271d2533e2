"""The one hot route: rows in, verdicts out, by the body's content type."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from serving.http import answer
from serving.http.body import check_depth, without_long_texts
from serving.http.gate import Gate
from serving.http.model import Model
from serving.http.models import Models
from serving.http.problem import Problem
from serving.http.reply import JSON, Reply
from serving.http.request import Request
from serving.http.settings import Settings

MOST_REASONS = 100
REASONS = frozenset(map(str, range(MOST_REASONS + 1)))


class Wishes(msgspec.Struct, frozen=True):
    """What a client wants to see: so many reasons for each anomaly, and whether anomalies alone."""

    reasons: int = 3
    only_anomalies: bool = False


class Scoring:
    """Answers bodies of rows."""

    def __init__(self, models: Models, gate: Gate, settings: Settings) -> None:
        self._models = models
        self._gate = gate
        self._settings = settings
        self._opening = asyncio.Lock()
        self._forms: dict[str, Callable[[Request, Model, Wishes], Awaitable[Reply]]] = {"application/json": self._json}

    async def answer(self, request: Request, name: str, version: str | None) -> Reply:
        """Judge the rows of a request.

        Raises:
            Problem: it cannot be answered.
            ClientGone: nobody waits for the answer.
        """
        form = self._forms.get(request.content_type)
        if form is None:
            known = ", ".join(self._forms)
            raise Problem(415, "content_type", f"rows come as {known}", found=request.content_type[:80], expected=known)
        wishes = wishes_of(request.query)
        return await form(request, await self.model(name, version), wishes)

    async def model(self, name: str, version: str | None) -> Model:
        """Give a model; a version that is not open yet is opened, one at a time."""
        if version is None:
            return self._models.current(name)
        if model := self._models.opened(name, version):
            return model
        async with self._opening:
            if model := self._models.opened(name, version):
                return model
            return await self._gate.aside(partial(self._models.open, name, version))

    async def _json(self, request: Request, model: Model, wishes: Wishes) -> Reply:
        body = await request.body(self._settings.max_body)
        return await self._gate.run(request, len(body), lambda: self._judge_json(body, model, wishes))

    def _judge_json(self, body: bytes, model: Model, wishes: Wishes) -> Reply:
        """Judge a body of JSON."""
        limits = self._settings
        lines = model.body.decode(body)
        rows = len(lines.rows) + len(lines.rejects)
        check_rows(rows, limits.max_rows)
        check_depth(body, rows, limits.max_depth)
        if len(body) > limits.max_text:
            lines = without_long_texts(lines, limits.max_text)
        judged = model.judge(lines, wishes.reasons)
        return Reply(answer.answer(model, judged, only_anomalies=wishes.only_anomalies), JSON)


def check_rows(rows: int, most: int) -> None:
    """Refuse more rows than a request may have.

    Raises:
        Problem: it has.
    """
    if rows > most:
        raise Problem(413, "rows", f"{rows:,} rows in one request; NDJSON may have any number", expected=f"at most {most:,} rows")


def wishes_of(query: dict[str, str]) -> Wishes:
    """Read `?reasons=3&only=anomalies`.

    Raises:
        Problem: a parameter is unknown, or cannot be meant.
    """
    if not query:
        return Wishes()
    expected = {"reasons": f"a number from 0 to {MOST_REASONS}", "only": "anomalies"}
    for name, value in query.items():
        good = {"reasons": value in REASONS, "only": value == "anomalies"}
        if not good.get(name):
            wanted = expected.get(name, "reasons or only")
            raise Problem(
                422, "query", f"?{name[:40]} is not understood", path=f"?{name[:40]}", found=value[:80], expected=wanted
            )
    return Wishes(int(query.get("reasons", "3")), "only" in query)
