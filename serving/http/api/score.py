"""The one hot route: rows in, verdicts out, by the body's content type."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from detector.errors import SettingError, TableError
from detector.images import UnreadableImage
from serving.codecs import arrow, json_answer, raw
from serving.codecs.json_body import check_depth
from serving.codecs.json_limits import without_long_texts
from serving.codecs.ndjson import Exchange, error_line
from serving.http.api import oip, row_log, unknown_columns
from serving.http.api.query_params import Wishes, unknown, wishes_of
from serving.http.core.concurrency import MAX_INLINE_BYTES, ConcurrencyLimiter
from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import Request, RequestHead
from serving.http.core.response import AnyResponse, Response, StreamedResponse
from serving.http.core.settings import HttpSettings
from serving.http.models.model import Model
from serving.http.models.registry import ModelRegistry
from serving.monitoring.alarms import RecentAlarms

if TYPE_CHECKING:
    from detector.series import Series

NDJSON = "application/x-ndjson"


class Scoring:
    """Answers bodies of rows."""

    def __init__(self, models: ModelRegistry, limiter: ConcurrencyLimiter, alarms: RecentAlarms, settings: HttpSettings) -> None:
        self._models = models
        self._limiter = limiter
        self._alarms = alarms
        self._settings = settings
        self._opening = asyncio.Lock()
        self._whole: dict[str, Callable[[bytes, Model, Wishes, str], Response]] = {
            "application/json": self._json,
            arrow.STREAM: self._arrow,
            raw.STREAM: self._raw,
            "image/png": self._image,
            "image/jpeg": self._image,
        }
        self._known = (NDJSON, *self._whole)

    async def score(self, request: Request) -> AnyResponse:
        """Judge the rows of a request.

        Raises:
            HttpProblem: it cannot be answered.
            ClientGone: nobody waits for the answer.
        """
        form = request.content_type
        if form not in self._known:
            known = ", ".join(self._known)
            raise HttpProblem(415, "content_type", f"rows come as {known}", found=form[:80], expected=known)
        wishes = wishes_of(request.query, form)
        model = await self.requested_model(request)
        if form == NDJSON:
            answers = Exchange(model, wishes, self._alarms, self._settings).answers(request, self._limiter)
            return StreamedResponse(answers, NDJSON.encode(), encode_error=error_line)
        body = await request.body(self._settings.max_body)
        judge = self._whole[form]
        work = MAX_INLINE_BYTES + 1 if wishes.heatmap else len(body)  # drawing takes its time, however small the image
        return await self._limiter.run(request, work, lambda: judge(body, model, wishes, request.id))

    def in_session(self, form: str) -> Callable[[bytes, Model, Wishes, str, Series], Response]:
        """Give what judges a whole body whose rows go on with a run.

        Raises:
            HttpProblem: it cannot come in this form.
        """
        judges = {"application/json": self._json, NDJSON: self._ndjson, arrow.STREAM: self._arrow}
        if form not in judges:
            known = ", ".join(judges)
            raise HttpProblem(415, "content_type", f"rows of a session come as {known}", found=form[:80], expected=known)
        return judges[form]

    def score_inline(self, request: RequestHead, size: int) -> Callable[[bytes], Response] | None:
        """Return what scores a whole body of `size` bytes without waiting for anything; None if there is no such thing.

        Raises:
            HttpProblem: it cannot be answered.
        """
        model = self._open_model(request, size)
        judge = self._whole.get(request.content_type)
        if model is None or judge is None:
            return None
        wishes = wishes_of(request.query, request.content_type)
        if wishes.heatmap:
            return None
        return lambda body: judge(body, model, wishes, request.id)

    def infer_inline(self, request: RequestHead, size: int) -> Callable[[bytes], Response] | None:
        """Return what infers from a whole body of `size` bytes without waiting for anything; None if there is no such thing.

        Raises:
            HttpProblem: it cannot be answered.
        """
        model = self._open_model(request, size)
        return None if model is None else lambda body: oip.infer(body, request, model, self._settings)

    async def infer(self, request: Request) -> Response:
        """Score the rows of a request in the Open Inference Protocol.

        Raises:
            HttpProblem: it cannot be answered.
            ClientGone: nobody waits for the answer.
        """
        model = await self.requested_model(request)
        body = await request.body(self._settings.max_body)
        return await self._limiter.run(request, len(body), lambda: oip.infer(body, request, model, self._settings))

    async def requested_model(self, request: RequestHead) -> Model:
        """Return the model that the path of a request names."""
        return await self.model(request.path_params["name"], request.path_params.get("version"))

    def _open_model(self, request: RequestHead, size: int) -> Model | None:
        """Return the model that the path of a request names, if it is open and may read `size` bytes."""
        model = self._models.find_open(request.path_params["name"], request.path_params.get("version"))
        return model if size <= self._settings.max_body else None

    async def model(self, name: str, version: str | None) -> Model:
        """Give a model; a version that is not open yet is opened, one at a time."""
        if model := self._models.find_open(name, version):
            return model
        async with self._opening:
            if model := self._models.find_open(name, version):
                return model
            return await self._limiter.run_in_thread(partial(self._models.open, name, version or ""))

    async def reload(self, name: str) -> Model:
        """Answer by the version that is pinned, or highest, now."""
        async with self._opening:
            return await self._limiter.run_in_thread(partial(self._models.reload, name))

    def _json(self, body: bytes, model: Model, wishes: Wishes, request_id: str, run: Series | None = None) -> Response:
        """Judge a body of JSON."""
        limits = self._settings
        lines = model.body.decode(body)
        rows = len(lines.rows) + len(lines.rejects)
        check_rows(rows, limits.max_rows)
        unread_keys: list[str] = []
        if not lines.flat:
            check_depth(body, rows, limits.max_depth)
            unread_keys = unknown_columns.in_body(body, model.columns)
        if len(body) > limits.max_text:
            lines = without_long_texts(lines, limits.max_text, model.numbers)
        if limits.log_rows:
            row_log.note(model, lines.values, lines.rows, request_id)
        judged = model.judge(lines, wishes.reasons, run)
        self._alarms.record(model, judged, request_id)
        return Response(json_answer.answer(model, judged, only_anomalies=wishes.only_anomalies, unread=unread_keys))

    def _ndjson(self, body: bytes, model: Model, wishes: Wishes, request_id: str, run: Series) -> Response:
        """Judge the lines of a session, which come and go whole."""
        return Response(Exchange(model, wishes, self._alarms, self._settings, run).whole(body, request_id), NDJSON.encode())

    def _arrow(self, body: bytes, model: Model, wishes: Wishes, request_id: str, run: Series | None = None) -> Response:
        """Judge an Arrow stream."""
        frame = arrow.read(body)
        check_rows(frame.height, self._settings.max_rows)
        try:
            if self._settings.log_rows:
                row_log.note(model, frame.to_dict(as_series=False), range(frame.height), request_id)
            judged = model.judge_frame(frame, np.arange(frame.height), wishes.reasons, run=run)
        except TableError as error:
            raise HttpProblem(422, "columns", str(error)) from error
        except pl.exceptions.PanicException as error:  # as of a date in the year 3,000,000
            raise HttpProblem(422, "cells", "a cell of the stream has no value that can be told") from error
        self._alarms.record(model, judged, request_id)
        return Response(arrow.write(judged, frame.height, only_anomalies=wishes.only_anomalies), arrow.STREAM.encode())

    def _raw(self, body: bytes, model: Model, wishes: Wishes, request_id: str) -> Response:
        """Judge a matrix, or windows of a series."""
        if wishes != Wishes():
            raise unknown("reasons or only", "", "neither, where the answer is numbers")
        window = model.scorer.manifest.window
        encoded = raw.read(body, model.scorer.columns, window.length if window else None)
        rows = len(encoded.accepted)
        check_rows(rows, self._settings.max_rows)
        if self._settings.log_rows:
            cells = dict(zip(model.columns, encoded.matrix.T.tolist(), strict=False))
            row_log.note(model, cells, np.flatnonzero(encoded.accepted).tolist(), request_id)
        judged = model.judge_windows(encoded, window.length) if window else model.judge_matrix(encoded)
        self._alarms.record(model, judged, request_id)
        return Response(raw.write(judged, rows // window.length if window else rows), raw.STREAM.encode())

    def _image(self, body: bytes, model: Model, wishes: Wishes, request_id: str) -> Response:
        """Judge an image, or draw where its error is."""
        try:
            judged, drawn = (
                model.draw_image(body, wishes.reasons) if wishes.heatmap else (model.judge_image(body, wishes.reasons), b"")
            )
        except SettingError as error:
            raise HttpProblem(415, "content_type", str(error)) from error
        except UnreadableImage as error:
            raise HttpProblem(422, "image", "nothing can be drawn", found=error.found, expected=error.expected) from error
        self._alarms.record(model, judged, request_id)
        if wishes.heatmap:
            return Response(drawn, b"image/png")
        return Response(json_answer.answer(model, judged, only_anomalies=wishes.only_anomalies))


def check_rows(rows: int, most: int) -> None:
    """Refuse more rows than a request may have.

    Raises:
        HttpProblem: it has.
    """
    if rows > most:
        raise HttpProblem(
            413, "rows", f"{rows:,} rows in one request; NDJSON may have any number", expected=f"at most {most:,} rows"
        )
