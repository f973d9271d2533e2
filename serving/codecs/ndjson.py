"""NDJSON in and out, in order, in constant memory: what has come is judged and sent before more is read.

The status leaves before row 1. So a whole answer ends with `{"done": ...}`, one that a later fault cuts short with
`{"error": ...}` and a connection that is dropped, so that no client takes a part for the whole.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from detector.files.stream import BOM
from serving.codecs.json_body import check_depth
from serving.codecs.json_limits import without_long_texts
from serving.http.api import row_log, unknown_columns
from serving.http.api.query_params import Wishes
from serving.http.core.concurrency import ConcurrencyLimiter
from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import Request
from serving.http.core.settings import HttpSettings
from serving.http.models.model import Model
from serving.model import Judged
from serving.monitoring.alarms import RecentAlarms
from serving.verdict_records import in_order

if TYPE_CHECKING:
    from detector.series import Series

ENCODER = msgspec.json.Encoder()


class Done(msgspec.Struct):
    """What was done when all is done."""

    rows: int = 0
    anomalies: int = 0
    rejected: int = 0
    unjudged: int | UnsetType = UNSET  # of a series, as `alarms`; see `answer`
    alarms: int | UnsetType = UNSET
    unknown_columns: list[str] | UnsetType = UNSET  # keys of the first lines that no column is read from

    def add(self, judged: Judged) -> None:
        """Count verdicts."""
        unjudged = judged.unjudged
        if unjudged is not None:
            self.unjudged = (self.unjudged or 0) + unjudged
            self.alarms = (self.alarms or 0) + judged.verdicts.alarms
        self.rows += len(judged.rows) - (unjudged or 0)
        self.anomalies += int(np.count_nonzero(judged.verdicts.is_anomaly))
        self.rejected += len(judged.rejects)


class Exchange:
    """One stream of rows, and the verdicts on them; of a series, all of it is one run."""

    def __init__(
        self, model: Model, wishes: Wishes, alarms: RecentAlarms, settings: HttpSettings, run: Series | None = None
    ) -> None:
        self._model = model
        self._run = run or model.run()
        self._wishes = wishes
        self._alarms = alarms
        self._settings = settings
        self._decoder = model.lines()
        self._line = 1
        self._id = ""
        self.done = Done()

    async def answers(self, request: Request, limiter: ConcurrencyLimiter) -> AsyncGenerator[bytes, None]:
        """Give the answer piece by piece.

        Raises:
            HttpProblem: a line is too long, or nests too deep, or the service is too busy.
            ClientGone: the client left.
        """
        self._id = request.id
        held = b""
        async for piece in request.chunks():
            held += piece
            end = held.rfind(b"\n") + 1
            block, held = held[:end], held[end:]
            if block:
                yield await limiter.run_step(len(block), partial(self.judge, block))
            self._check_length(held)
        if held.strip():
            yield await limiter.run_step(len(held), partial(self.judge, held + b"\n"))
        yield self._last()

    def whole(self, body: bytes, request_id: str) -> bytes:
        """Give the whole answer to a whole body.

        Raises:
            HttpProblem: a line nests too deep.
        """
        self._id = request_id
        judged = self.judge(body if body.endswith(b"\n") else body + b"\n") if body.strip() else b""
        return judged + self._last()

    def _last(self) -> bytes:
        """Give the last line of a whole answer."""
        return ENCODER.encode({"done": self.done}) + b"\n"

    def judge(self, block: bytes) -> bytes:
        """Judge a block of whole lines."""
        if self._line == 1:
            block = block.removeprefix(BOM)
        lines = self._decoder.read(block, self._line)
        if self._line == 1 and not lines.flat:
            self.done.unknown_columns = unknown_columns.in_lines(block, self._model.columns) or UNSET
        self._line += len(lines.rows) + len(lines.rejects) + lines.blank
        if not lines.flat:
            check_depth(block, len(lines.rows) + len(lines.rejects), self._settings.max_depth)
        if len(block) > self._settings.max_text:
            lines = without_long_texts(lines, self._settings.max_text, self._model.numbers)
        if self._settings.log_rows:
            row_log.note(self._model, lines.values, lines.rows, self._id)
        judged = self._model.judge(lines, self._wishes.reasons, self._run)
        self._alarms.record(self._model, judged, self._id)
        self.done.add(judged)
        return ENCODER.encode_lines(in_order(judged, only_anomalies=self._wishes.only_anomalies))

    def _check_length(self, held: bytes) -> None:
        """Refuse a line that is too long to be one."""
        longest = self._settings.max_line
        if len(held) > longest:
            raise HttpProblem(413, "line", f"a line has more than {longest:,} bytes", expected=f"at most {longest:,} bytes")


def error_line(problem: HttpProblem, request_id: str) -> bytes:
    """Give the last line of an answer that is not whole."""
    return ENCODER.encode({"error": msgspec.structs.replace(problem.details, request_id=request_id)}) + b"\n"
