"""A model that is open for rows that keep coming: its scorer, what it counts, and the short way for rows that need no table."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from detector.columns import Encoded
from detector.files.json_lines import LineDecoder, Lines
from detector.files.ndjson import column
from detector.reasons import Explain
from detector.records import RecordEncoder
from detector.rejects import Reject
from detector.scorer import NO_REASONS, Scorer, Verdicts, accepted_of
from serving.watch import Watch

SHORT_WAY = 512  # rows; of more that are not all numbers, columns are the faster ones


class Judged(NamedTuple):
    """The verdicts on rows, the numbers of those that were scored, and the rest, in no particular order."""

    verdicts: Verdicts
    rows: Sequence[int]
    rejects: list[Reject]
    matrix: np.ndarray  # float64[rows that were scored, columns]


class Model:
    """One version of one name."""

    def __init__(self, name: str, scorer: Scorer) -> None:
        manifest = scorer.manifest
        self.name = name
        self.version = manifest.version
        self.scorer = scorer
        self.watch = Watch(scorer)
        self.loaded = dt.datetime.now(dt.UTC)
        self.columns = [each.name for each in manifest.columns]
        self.numbers = {each.name for each in manifest.columns if each.kind == "number"}
        self._quoted = [each.name for each in manifest.columns if each.kind in {"category", "boolean"}]
        self._records = RecordEncoder(manifest.columns, manifest.missing)

    def lines(self) -> LineDecoder:
        """Give a decoder of NDJSON."""
        return LineDecoder("", self.columns, self.numbers)

    def judge(self, lines: Lines, top: int) -> Judged:
        """Judge decoded rows; explains the anomalies by `top` reasons."""
        short = len(lines.rows) <= SHORT_WAY or (lines.typed and self._records.all_numbers)
        matrix = self._records.encode(lines.values, typed=lines.typed) if short else None
        if matrix is None:
            return self.judge_frame(self._frame(lines), lines.rows, top, lines.rejects)
        encoded = Encoded(matrix, np.ones(len(matrix), dtype=bool), [], 0)
        verdicts = self.scorer.judge(encoded, lambda at: self._texts(lines, at), explain=_explain(top), top=top)
        return self._watched(Judged(verdicts, lines.rows, lines.rejects, matrix))

    def judge_frame(self, frame: pl.DataFrame, numbers: Sequence[int], top: int, rejects: Sequence[Reject] = ()) -> Judged:
        """Judge a table; `rejects` are the rows that did not make it into the table.

        Raises:
            TableError: it lacks a column.
        """
        rows = np.array(numbers, np.int64)
        encoded = self.scorer.encode(frame, rows)
        verdicts = self.scorer.judge(encoded, accepted_of(frame, encoded), explain=_explain(top), top=top)
        judged = Judged(verdicts, rows[encoded.accepted].tolist(), [*rejects, *encoded.rejects], encoded.matrix)
        return self._watched(judged)

    def judge_matrix(self, encoded: Encoded) -> Judged:
        """Judge rows that are encoded already; explains none."""
        verdicts = self.scorer.judge(encoded, lambda _: NO_REASONS, explain="none")
        return self._watched(Judged(verdicts, np.flatnonzero(encoded.accepted).tolist(), encoded.rejects, encoded.matrix))

    def _watched(self, judged: Judged) -> Judged:
        self.watch.add(judged.verdicts, judged.matrix, judged.rejects)
        return judged

    def _frame(self, lines: Lines) -> pl.DataFrame:
        """Give rows as a table, exactly as a file's would be."""
        return pl.DataFrame([column(name, cells, self.numbers, typed=lines.typed) for name, cells in lines.values.items()])

    def _texts(self, lines: Lines, at: np.ndarray) -> pl.DataFrame:
        """Give the columns of some rows that reasons quote; numbers and dates they take from the matrix."""
        places = at.tolist()
        return pl.DataFrame(
            [column(name, [lines.values[name][place] for place in places], (), typed=False) for name in self._quoted]
        )


def _explain(top: int) -> Explain:
    return "anomalies" if top else "none"
