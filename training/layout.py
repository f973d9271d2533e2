"""The order in which columns enter a network, and what training rows say of each.

Numbers come first, then dates (four features each: sine and cosine of the time of day and of the week), then categories
(booleans are categories of two values), then constants, which no network needs to see.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from detector import cells
from detector.columns import Column
from detector.images import ImageSpec
from detector.manifest import IgnoredColumn
from training.scaling import AS_IT_IS, Scaling, learn

DATE_FEATURES = 4
LARGEST_VOCABULARY = 256
MOST_RARE = 10_000
RARE_SHARE = 100  # a value rarer than one in so many rows may be rare ...
NEVER_RARE = 5  # ... unless it was seen so often


class Layout(NamedTuple):
    """Positions in the matrix by kind, and the scaling of the numbers."""

    columns: tuple[Column, ...]
    numbers: tuple[int, ...]  # those with heavy tails last
    dates: tuple[int, ...]
    categories: tuple[int, ...]
    constants: tuple[int, ...]
    scalings: tuple[Scaling, ...]  # one for each number
    constant_values: tuple[float, ...]  # one for each constant
    rows: int  # training rows
    image: ImageSpec | None = None  # columns are the pixels of one

    @property
    def features(self) -> int:
        """How many real-valued features the network rebuilds."""
        return len(self.numbers) + DATE_FEATURES * len(self.dates)

    @property
    def codes(self) -> tuple[int, ...]:
        """How many codes each category has."""
        return tuple(self.columns[place].codes for place in self.categories)

    @property
    def modelled(self) -> tuple[int, ...]:
        """Positions of the columns that the network sees, in its order."""
        return (*self.numbers, *self.dates, *self.categories)


def vocabularies(frame: pl.DataFrame, columns: list[Column], words: frozenset[str]) -> tuple[list[Column], list[IgnoredColumn]]:
    """Complete the columns with what the training rows hold; a column without any value there is left out."""
    learnt = [_with_vocabulary(column, frame[column.name], words) for column in columns]
    kept = [column for column in learnt if column is not None]
    names = {column.name for column in kept}
    left = [IgnoredColumn(column.name, "has no value in the training rows") for column in columns if column.name not in names]
    return kept, left


def build_layout(matrix: np.ndarray, columns: list[Column], *, scaled: bool = True) -> Layout:
    """Lay the columns out by the training matrix `float64[rows, columns]`.

    Numbers are scaled, or taken as they are for probabilities: then one that never changes is a network's business too,
    since it may have any certainty of what cannot lie beyond 0 and 1.
    """
    columns = [_with_range(column, matrix[:, place], scaled=scaled) for place, column in enumerate(columns)]
    kinds = {place: "constant" if column.constant else column.kind for place, column in enumerate(columns)}

    def places(*kind: str) -> tuple[int, ...]:
        return tuple(place for place, one in kinds.items() if one in kind)

    constants = places("constant")
    scalings = {place: learn(matrix[:, place]) if scaled else AS_IT_IS for place in places("number")}
    numbers = sorted(scalings, key=lambda place: scalings[place].heavy)
    return Layout(
        columns=tuple(columns),
        numbers=tuple(numbers),
        dates=places("date"),
        categories=places("category", "boolean"),
        constants=constants,
        scalings=tuple(scalings[place] for place in numbers),
        constant_values=tuple(float(matrix[np.isfinite(matrix[:, place]), place][0]) for place in constants),
        rows=len(matrix),
    )


def _with_vocabulary(column: Column, series: pl.Series, words: frozenset[str]) -> Column | None:
    """Give a column the vocabulary of its training cells, or nothing if it has none."""
    if column.kind != "category":
        parse = {"boolean": cells.booleans, "number": cells.numbers, "date": cells.dates}[column.kind]
        if not np.isfinite(parse(series, words).values).any():
            return None
        return msgspec.structs.replace(column, vocabulary=("false", "true")) if column.kind == "boolean" else column
    texts = cells.texts(series, words).drop_nulls()
    if not len(texts):
        return None
    counted = texts.value_counts(name="n")
    counts: dict[str, int] = {}
    for text, count in counted.iter_rows():
        counts[cells.category_text(text)] = counts.get(cells.category_text(text), 0) + count
    often = sorted(counts, key=lambda text: (-counts[text], text))
    least = min(NEVER_RARE, max(2, len(texts) // RARE_SHARE))
    vocabulary = [text for text in often if counts[text] >= least][:LARGEST_VOCABULARY] or often[:1]
    rare = [text for text in often if text not in set(vocabulary)][:MOST_RARE]
    return msgspec.structs.replace(column, vocabulary=tuple(vocabulary), rare=tuple(rare))


def _with_range(column: Column, values: np.ndarray, *, scaled: bool) -> Column:
    """Give a column the range, constancy and missing rate of its training values."""
    there = values[np.isfinite(values)]
    may_be = column.kind in {"boolean", "category", *(["number"] if scaled else [])}
    constant = may_be and bool(np.all(there == there[0]))
    column = msgspec.structs.replace(column, constant=constant, missing_rate=(len(values) - len(there) + 1) / (len(values) + 2))
    if column.kind in {"number", "date"}:
        return msgspec.structs.replace(column, lowest=float(there.min()), highest=float(there.max()))
    return column
