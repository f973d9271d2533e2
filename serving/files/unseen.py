"""Categories never seen in training, counted by column and value, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np
import polars as pl
from msgspec import Meta

from detector import cells
from detector.batch import ImageBatch, TableBatch
from detector.columns import Column
from detector.rejects import shorten
from detector.unseen import UnseenCategories
from detector.verdicts import Verdicts

MAX_VALUES = 100  # that are counted one by one, of each column


class UnseenValue(msgspec.Struct, frozen=True):
    """A value, and how many rows have it."""

    value: str
    rows: int


class UnseenColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A category with values that training never saw."""

    column: str
    rows: Annotated[int, Meta(description="rows with such a value")]
    values: Annotated[tuple[UnseenValue, ...], Meta(description=f"the first {MAX_VALUES} values, the most frequent first")]
    is_complete: Annotated[bool, Meta(description="whether `values` holds all of them")]


class UnseenCounts:
    """Counts the values of a run, batch by batch."""

    def __init__(self, columns: Sequence[Column]) -> None:
        """Count for these columns."""
        self._columns = columns
        self._categories = UnseenCategories(columns)
        self._rows: Counter[str] = Counter()  # by column
        self._values: dict[str, Counter[str]] = {}

    def add(self, batch: TableBatch | ImageBatch, verdicts: Verdicts) -> None:
        """Count the accepted rows of a batch."""
        is_unseen = self._categories.find(verdicts.matrix)
        if not is_unseen.any():
            return
        positions = np.flatnonzero(verdicts.accepted)
        for index, at in zip(self._categories.indices, is_unseen.T, strict=True):
            if at.any():
                self._add(self._columns[index].name, batch.frame, positions[at])

    def _add(self, column: str, frame: pl.DataFrame, positions: np.ndarray) -> None:
        self._rows[column] += len(positions)
        values = self._values.setdefault(column, Counter())
        found = cells.texts(frame[column].gather(positions), frozenset())
        for text, rows in found.value_counts(name="rows").iter_rows():
            value = shorten(cells.category_text(text))
            if value in values or len(values) < MAX_VALUES:
                values[value] += rows

    def columns(self) -> tuple[UnseenColumn, ...]:
        """Return the columns that had such values, in the detector's order."""
        names = [column.name for column in self._columns if column.name in self._rows]
        return tuple(self._column(name) for name in names)

    def _column(self, name: str) -> UnseenColumn:
        values = self._values[name]
        return UnseenColumn(
            column=name,
            rows=self._rows[name],
            values=tuple(
                UnseenValue(value, rows) for value, rows in sorted(values.items(), key=lambda item: (-item[1], item[0]))
            ),
            is_complete=values.total() == self._rows[name],
        )
