"""A model that is open for rows that keep coming: its scorer, what it counts, and the short way for rows that need no table."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from detector.batch import RecordBatch, Scalar
from detector.columns import Encoded
from detector.files.json_lines import LineDecoder
from detector.files.ndjson import column
from detector.reasons import Explain
from detector.records import RecordEncoder
from detector.rejects import Reject
from detector.row_reasons import Reason, Teller
from detector.scorer import NO_REASONS, Explained, Scorer, Verdicts, accepted_of
from detector.windows import JUDGED, MOST_KEYS
from serving.monitoring.rolling import RollingStatistics

if TYPE_CHECKING:
    from detector.series import Series
    from serving.monitoring.shadow import ShadowModel

SHORT_WAY = 512  # rows; of more that are not all numbers, columns are the faster ones
ALL = np.ones(SHORT_WAY, dtype=bool)


class Judged(NamedTuple):
    """The verdicts on rows, the numbers of those that were scored, and the rest, in no particular order."""

    verdicts: Verdicts
    rows: Sequence[int] | np.ndarray
    rejects: list[Reject]
    matrix: np.ndarray  # float64[rows that were scored, columns]
    reasons: Mapping[int, list[Reason]] = {}  # by place among the scored rows, unless the verdicts hold them as a table

    @property
    def unjudged(self) -> int | None:
        """How many rows of a series have no verdict: they warm a window up, or stand between two; None of single rows."""
        fates = self.verdicts.fates
        return None if fates is None else int(np.count_nonzero(fates != JUDGED))

    @property
    def numbers(self) -> Sequence[int]:
        """The rows' numbers as Python's."""
        return self.rows.tolist() if isinstance(self.rows, np.ndarray) else self.rows


class Model:
    """One version of one name."""

    def __init__(self, name: str, scorer: Scorer, most_keys: int = MOST_KEYS) -> None:
        """Take what is open; of a series so many keys are remembered in one run."""
        manifest = scorer.manifest
        self.name = name
        self.version = manifest.version
        self.scorer = scorer
        self.statistics = RollingStatistics(scorer)
        self.shadow: ShadowModel | None = None  # another version that judges some of the same rows
        self.loaded = dt.datetime.now(dt.UTC)
        self.columns = [each.name for each in manifest.columns]
        if manifest.window:
            self.columns += [name for name in manifest.window.columns if name not in self.columns]
        self.numbers = {each.name for each in manifest.columns if each.kind == "number"}
        self._most_keys = most_keys
        self._teller = Teller(manifest.columns, manifest.score.extra_terms)
        self._records = RecordEncoder(manifest.columns, manifest.missing)

    def session(self) -> Scorer | Series:
        """Give what judges rows that come in parts; of a series it has seen none yet."""
        return self.scorer.session(self._most_keys)

    def run(self) -> Series | None:
        """Begin a run over a series; None where rows are judged one by one."""
        session = self.session()
        return None if isinstance(session, Scorer) else session

    def lines(self) -> LineDecoder:
        """Give a decoder of NDJSON."""
        return LineDecoder("", self.columns, self.numbers)

    def judge(self, lines: RecordBatch, top: int, run: Series | None = None) -> Judged:
        """Judge decoded rows; explains the anomalies by `top` reasons.

        Of a series, `run` remembers what came before; without one the rows begin anew, as a file's do.
        """
        if self.scorer.manifest.window:
            return self._judge_series(lines, top, run)
        few = len(lines.rows) <= SHORT_WAY or (lines.typed and self._records.all_numbers)
        short = few and not self.scorer.manifest.image
        matrix = self._records.encode(lines.values, typed=lines.typed) if short else None
        if matrix is None:
            return self.judge_frame(self._frame(lines), lines.rows, top, lines.rejects, run)
        every = ALL[: len(matrix)] if len(matrix) <= SHORT_WAY else np.ones(len(matrix), dtype=bool)
        encoded = Encoded(matrix, every, [], 0)
        verdicts, explained = self.scorer.verdicts(encoded, explain(top))
        reasons = self._reasons(explained, lines.values, top) if len(explained.at) else {}
        judged = self._watched(Judged(verdicts, lines.rows, lines.rejects, matrix, reasons))
        if shadow := self.shadow:
            shadow.submit_rows(lines, judged)
        return judged

    def _judge_series(self, lines: RecordBatch, top: int, run: Series | None) -> Judged:
        """Judge rows of a series: few plain ones without a table."""
        session = run or self.run()
        matrix = None
        if len(lines.rows) <= SHORT_WAY:
            values = {column.name: lines.values[column.name] for column in self.scorer.columns}
            matrix = self._records.encode(values, typed=lines.typed)
        if matrix is not None and session:
            rows = np.asarray(lines.rows, np.int64)
            verdicts = session.judge_plain(
                lines.values, matrix, lambda at: self._frame(lines)[at], rows, explain=explain(top), top=top
            )
            if verdicts:
                accepted = verdicts.accepted
                rejects = [*lines.rejects, *verdicts.rejects]
                judged = self._watched(Judged(verdicts, rows[accepted], rejects, matrix[accepted]))
                if (shadow := self.shadow) and run is None:
                    shadow.submit_rows(lines, judged)
                return judged
        return self.judge_frame(self._frame(lines), lines.rows, top, lines.rejects, run)

    def _reasons(self, explained: Explained, values: Mapping[str, Sequence[Scalar]], top: int) -> dict[int, list[Reason]]:
        """Tell the reasons of rows one by one."""
        places = explained.at.tolist()
        told = self._teller.tell(
            explained.rows, explained.outputs, top, lambda row, column: values[self.columns[column]][places[row]]
        )
        return dict(zip(places, told, strict=True))

    def judge_frame(
        self,
        frame: pl.DataFrame,
        numbers: Sequence[int] | np.ndarray,
        top: int,
        rejects: Sequence[Reject] = (),
        run: Series | None = None,
    ) -> Judged:
        """Judge a table; `rejects` are the rows that did not make it into the table.

        Raises:
            TableError: it lacks a column.
        """
        rows = np.asarray(numbers, np.int64)
        encoded = self.scorer.encode(frame, rows)
        session = run or self.session()
        if isinstance(session, Scorer):
            verdicts = session.judge(encoded, accepted_of(frame, encoded), explain=explain(top), top=top)
        else:
            verdicts = session.judge(frame, encoded, rows, explain=explain(top), top=top)
        matrix = encoded.matrix[verdicts.accepted[encoded.accepted]]
        judged = self._watched(Judged(verdicts, rows[verdicts.accepted], [*rejects, *verdicts.rejects], matrix))
        if (shadow := self.shadow) and run is None:  # it does not know what came before
            shadow.submit_frame(frame, numbers, judged)
        return judged

    def judge_matrix(self, encoded: Encoded) -> Judged:
        """Judge rows that are encoded already; explains none."""
        verdicts = self.scorer.judge(encoded, lambda _: NO_REASONS, explain="none")
        judged = self._watched(Judged(verdicts, np.flatnonzero(encoded.accepted), encoded.rejects, encoded.matrix))
        if shadow := self.shadow:
            shadow.submit_matrix(encoded, judged)
        return judged

    def _watched(self, judged: Judged) -> Judged:
        self.statistics.add(judged.verdicts, judged.matrix, judged.rejects)
        return judged

    def _frame(self, lines: RecordBatch) -> pl.DataFrame:
        """Give rows as a table, exactly as a file's would be."""
        return pl.DataFrame([column(name, cells, self.numbers, typed=lines.typed) for name, cells in lines.values.items()])


def explain(top: int) -> Explain:
    """Say which rows are to be explained by `top` reasons."""
    return "anomalies" if top else "none"
