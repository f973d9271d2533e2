"""Rows of a table, each scored on its own."""

from __future__ import annotations

import numpy as np

from detector.batch import Batch, MatrixBatch, RecordBatch, Scalar
from detector.cells import infinity_is_missing, missing_words
from detector.column_reasons import rank
from detector.columns import EXPECTED, Column, Encoded, encode
from detector.decision import Calibration, Decision
from detector.inputs.base import Engine, Explained, RowSession, Session, accepted_frame, placed_at
from detector.manifest import Manifest
from detector.reasons import ReasonLists, Reasons, ReasonTable
from detector.record_encoder import RecordEncoder
from detector.rejects import Reject
from detector.row_reasons import RowExplainer

FEW = 512  # records: of more that are not all numbers, encoding by column is faster; and so is explaining more rows
ALL_ACCEPTED = np.ones(FEW, dtype=bool)


class TabularInput:
    """Rows of a table."""

    noun = promise_noun = "row"
    reads_files = False

    def __init__(self, manifest: Manifest) -> None:
        """Read the columns of a manifest."""
        self._columns = manifest.columns
        self._missing = manifest.missing
        self._extra_terms = manifest.score.extra_terms
        self.required: tuple[str, ...] = tuple(column.name for column in manifest.columns)
        self.numbers = frozenset(column.name for column in manifest.columns if column.kind == "number")
        self.shape: tuple[int, ...] = (len(manifest.columns),)
        self.description = "single rows"
        self._records = RecordEncoder(manifest.columns, manifest.missing)
        self._explainer = RowExplainer(manifest.columns, manifest.score.extra_terms)

    def session(self, engine: Engine, max_keys: int = 0, key: str | None = None) -> Session:  # noqa: ARG002 - rows have no keys
        """Start scoring."""
        return RowSession(engine, self)

    def decide(self, calibration: Calibration, rate: float) -> Decision:
        """Return the decision that promises a false-alarm rate of rows."""
        return calibration.decide(rate)

    def examples(self, rows: np.ndarray, count: int) -> np.ndarray:
        """Return `count` rows."""
        return rows[:count]

    def encode(self, batch: Batch) -> Encoded:
        """Return `float64[accepted rows, columns]`; a few plain records are encoded without making a table."""
        if isinstance(batch, MatrixBatch):
            return encode_matrix(batch.matrix, self._columns, self._missing)
        if isinstance(batch, RecordBatch) and (len(batch.rows) <= FEW or (batch.typed and self._records.all_numbers)):
            matrix = self._records.encode(batch.values, typed=batch.typed)
            if matrix is not None:
                accepted = ALL_ACCEPTED[: len(matrix)] if len(matrix) <= FEW else np.ones(len(matrix), dtype=bool)
                return Encoded(matrix, accepted, [], 0)
        return encode(batch.frame, self._columns, np.asarray(batch.rows, np.int64), file=batch.file, missing=self._missing)

    def explain(self, batch: Batch, encoded: Encoded, explained: Explained, top: int) -> Reasons:
        """Return the columns with the largest shares; of a few records row by row, else column by column."""
        if isinstance(batch, RecordBatch) and len(explained.at) <= FEW:
            return self._explain_records(batch, encoded, explained, top)
        frame = accepted_frame(batch.frame, encoded, explained.at)
        reasons = rank(frame, explained.rows, explained.outputs, self._columns, self._extra_terms, top)
        return ReasonTable(placed_at(reasons, explained.at))

    def _explain_records(self, batch: RecordBatch, encoded: Encoded, explained: Explained, top: int) -> Reasons:
        at = explained.at.tolist()
        positions = at if not encoded.rejects else np.flatnonzero(encoded.accepted)[explained.at].tolist()

        def cell_of(row: int, column: int) -> Scalar:
            cell: Scalar = batch.values[self._columns[column].name][positions[row]]
            return cell

        reasons = self._explainer.explain(explained.rows, explained.outputs, top, cell_of)
        return ReasonLists(dict(zip(at, reasons, strict=True)))


def encode_matrix(matrix: np.ndarray, columns: tuple[Column, ...], missing: tuple[str, ...]) -> Encoded:
    """Check encoded rows, `float64[rows, columns]`: a row with an impossible code is rejected."""
    infinite = np.isinf(matrix)
    count = int(np.count_nonzero(infinite))
    if count and infinity_is_missing(missing_words(missing)):
        matrix = np.where(infinite, np.nan, matrix)
    faulty = np.full(len(matrix), -1)
    for index, column in enumerate(columns):
        if column.kind in {"category", "boolean"}:
            faulty[(faulty < 0) & ~_is_code(column, matrix[:, index])] = index
    accepted = faulty < 0
    if accepted.all():
        return Encoded(matrix, accepted, [], count)
    rejects = [
        Reject(int(row), columns[faulty[row]].name, f"{matrix[row, faulty[row]]:g}", EXPECTED[columns[faulty[row]].kind])
        for row in np.flatnonzero(~accepted)
    ]
    return Encoded(matrix[accepted], accepted, rejects, count)


def _is_code(column: Column, cells: np.ndarray) -> np.ndarray:
    """Return which cells a category or a boolean can hold."""
    highest = column.unseen if column.kind == "category" else 1
    possible: np.ndarray = np.isnan(cells) | ((cells >= 0) & (cells <= highest) & (cells == np.floor(cells)))
    return possible
