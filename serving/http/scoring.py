"""The one hot route: rows in, verdicts out, by the body's content type."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import NamedTuple

from detector.errors import TableError
from serving.http import answer, arrow, inference, raw
from serving.http.body import check_depth
from serving.http.gate import Gate
from serving.http.model import Model
from serving.http.models import Models
from serving.http.ndjson import Exchange
from serving.http.problem import Problem
from serving.http.reply import Reply
from serving.http.request import Request
from serving.http.settings import Settings
from serving.http.wishes import Wishes, unknown, wishes_of
from serving.nesting import without_long_texts

NDJSON = "application/x-ndjson"


class Stream(NamedTuple):
    """An answer that is sent while it is made."""

    pieces: AsyncIterator[bytes]
    content_type: bytes


class Scoring:
    """Answers bodies of rows."""

    def __init__(self, models: Models, gate: Gate, settings: Settings) -> None:
        self._models = models
        self._gate = gate
        self._settings = settings
        self._opening = asyncio.Lock()
        self._forms: dict[str, Callable[[Request, Model, Wishes], Awaitable[Reply | Stream]]] = {
            "application/json": self._whole(self._json),
            NDJSON: self._ndjson,
            arrow.STREAM: self._whole(self._arrow),
            raw.STREAM: self._whole(self._raw),
        }

    async def answer(self, request: Request, name: str, version: str | None) -> Reply | Stream:
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

    async def infer(self, request: Request, name: str, version: str | None) -> Reply:
        """Judge the rows of a request in the Open Inference Protocol.

        Raises:
            Problem: it cannot be answered.
            ClientGone: nobody waits for the answer.
        """
        model = await self.model(name, version)
        body = await request.body(self._settings.max_body)
        return await self._gate.run(request, len(body), lambda: inference.infer(body, request, model, self._settings))

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

    async def reload(self, name: str) -> Model:
        """Answer by the version that is pinned, or highest, now."""
        async with self._opening:
            return await self._gate.aside(partial(self._models.reload, name))

    def _whole(
        self, judge: Callable[[bytes, Model, Wishes], Reply]
    ) -> Callable[[Request, Model, Wishes], Awaitable[Reply | Stream]]:
        """Make a form of a function that judges a whole body."""

        async def form(request: Request, model: Model, wishes: Wishes) -> Reply:
            body = await request.body(self._settings.max_body)
            return await self._gate.run(request, len(body), lambda: judge(body, model, wishes))

        return form

    def _json(self, body: bytes, model: Model, wishes: Wishes) -> Reply:
        """Judge a body of JSON."""
        limits = self._settings
        lines = model.body.decode(body)
        rows = len(lines.rows) + len(lines.rejects)
        check_rows(rows, limits.max_rows)
        check_depth(body, rows, limits.max_depth)
        if len(body) > limits.max_text:
            lines = without_long_texts(lines, limits.max_text, model.numbers)
        judged = model.judge(lines, wishes.reasons)
        return Reply(answer.answer(model, judged, only_anomalies=wishes.only_anomalies))

    async def _ndjson(self, request: Request, model: Model, wishes: Wishes) -> Stream:
        """Judge NDJSON as it comes."""
        return Stream(Exchange(model, wishes, self._settings).answers(request, self._gate), NDJSON.encode())

    def _arrow(self, body: bytes, model: Model, wishes: Wishes) -> Reply:
        """Judge an Arrow stream."""
        frame = arrow.read(body)
        check_rows(frame.height, self._settings.max_rows)
        try:
            judged = model.judge_frame(frame, range(frame.height), wishes.reasons)
        except TableError as error:
            raise Problem(422, "columns", str(error)) from error
        return Reply(arrow.write(judged, frame.height, only_anomalies=wishes.only_anomalies), arrow.STREAM.encode())

    def _raw(self, body: bytes, model: Model, wishes: Wishes) -> Reply:
        """Judge a matrix."""
        if wishes != Wishes():
            raise unknown("reasons or only", "", "neither, where the answer is numbers")
        encoded = raw.read(body, model.scorer.columns)
        check_rows(len(encoded.accepted), self._settings.max_rows)
        return Reply(raw.write(model.judge_matrix(encoded), len(encoded.accepted)), raw.STREAM.encode())


def check_rows(rows: int, most: int) -> None:
    """Refuse more rows than a request may have.

    Raises:
        Problem: it has.
    """
    if rows > most:
        raise Problem(413, "rows", f"{rows:,} rows in one request; NDJSON may have any number", expected=f"at most {most:,} rows")
