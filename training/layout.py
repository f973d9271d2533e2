"""The order in which columns enter a network, with the ranges and scalings learned from training rows.

Numbers come first, then dates (four features each: sine and cosine of the time of day and of the week), then categories
(booleans are categories of two values), then constants, which no network sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from detector import cells
from detector.columns import MAX_RARE, Column, parse
from detector.images import ImageSpec
from detector.manifest import IgnoredColumn
from detector.profile import bin_counts, bin_edges
from training.far_cells import are_far, beyond_range
from training.scaling import IDENTITY, Scaling, fit_scaling

DATE_FEATURES = 4
MAX_VOCABULARY = 256
RARE_SHARE = 100  # a value rarer than one in so many rows may be rare ...
NEVER_RARE = 5  # ... unless it was seen so often


class FeatureLayout(NamedTuple):
    """Column indices by kind, and the scalings of the numbers."""

    columns: tuple[Column, ...]
    numbers: tuple[int, ...]  # those with heavy tails last
    dates: tuple[int, ...]
    categories: tuple[int, ...]
    constants: tuple[int, ...]
    scalings: tuple[Scaling, ...]  # one for each number
    constant_values: tuple[float, ...]  # one for each constant
    rows: int  # training rows
    image: ImageSpec | None = None  # columns are the pixels of one
    closed: tuple[bool, ...] = ()  # for each category, whether training saw all its values so often that a new one is no chance

    @property
    def feature_count(self) -> int:
        """The number of real-valued features that the network reconstructs."""
        return len(self.numbers) + DATE_FEATURES * len(self.dates)

    @property
    def code_counts(self) -> tuple[int, ...]:
        """The number of codes of each category."""
        return tuple(self.columns[index].codes for index in self.categories)

    @property
    def modelled(self) -> tuple[int, ...]:
        """Indices of the columns that the network sees, in its order."""
        return (*self.numbers, *self.dates, *self.categories)


def learn_vocabularies(
    frame: pl.DataFrame, columns: list[Column], missing: frozenset[str]
) -> tuple[list[Column], list[IgnoredColumn]]:
    """Complete the columns with the vocabularies of the training rows; a column without any value there is ignored."""
    completed = [_with_vocabulary(column, frame[column.name], missing) for column in columns]
    kept = [column for column in completed if column is not None]
    names = {column.name for column in kept}
    ignored = [IgnoredColumn(column.name, "has no value in the training rows") for column in columns if column.name not in names]
    return kept, ignored


def build_layout(
    matrix: np.ndarray, columns: list[Column], validation: np.ndarray | None = None, *, scaled: bool = True
) -> FeatureLayout:
    """Build the layout from the training matrix, `float64[rows, columns]`; validation rows may say that a category is not closed.

    Without `scaled`, numbers are probabilities and stay as they are. Then a constant number is modelled too, since no
    value beyond 0 and 1 is possible and its certainty is bounded.
    """
    usual = [_usual(column, matrix[:, index], scaled=scaled) for index, column in enumerate(columns)]
    columns = [_with_range(column, matrix[:, i], usual[i], scaled=scaled) for i, column in enumerate(columns)]
    kinds = ["constant" if column.constant else column.kind for column in columns]

    def indices(*wanted: str) -> tuple[int, ...]:
        return tuple(index for index, kind in enumerate(kinds) if kind in wanted)

    constants = indices("constant")
    scalings = {index: fit_scaling(usual[index]) if scaled else IDENTITY for index in indices("number")}
    numbers = sorted(scalings, key=lambda index: scalings[index].heavy)
    return FeatureLayout(
        columns=tuple(columns),
        numbers=tuple(numbers),
        dates=indices("date"),
        categories=indices("category", "boolean"),
        constants=constants,
        scalings=tuple(scalings[index] for index in numbers),
        constant_values=tuple(float(matrix[np.isfinite(matrix[:, index]), index][0]) for index in constants),
        rows=len(matrix),
        closed=tuple(
            _is_closed(columns[index], matrix[:, index], None if validation is None else validation[:, index])
            for index in indices("category", "boolean")
        ),
    )


def without_far_cells(matrix: np.ndarray, layout: FeatureLayout) -> np.ndarray:
    """Return rows in which cells that are far from the usual ones are the nearest usual value; the same array without such."""
    usual = matrix
    for index, far in find_far_cells(matrix, layout):
        if index in layout.numbers:
            usual = matrix.copy() if usual is matrix else usual
            usual[far, index] = np.clip(usual[far, index], layout.columns[index].lowest, layout.columns[index].highest)
    return usual


def find_far_cells(matrix: np.ndarray, layout: FeatureLayout) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each number or date with cells that are far from its usual ones: its index, and the rows of the cells."""
    scaled = [index for index, scaling in zip(layout.numbers, layout.scalings, strict=True) if scaling != IDENTITY]
    for index in (*scaled, *layout.dates):
        lowest, highest = layout.columns[index].lowest, layout.columns[index].highest
        assert lowest is not None  # noqa: S101 - by `build_layout`
        assert highest is not None  # noqa: S101
        rows = np.flatnonzero(beyond_range(matrix[:, index], lowest, highest))
        if len(rows):
            yield index, rows


def _usual(column: Column, values: np.ndarray, *, scaled: bool) -> np.ndarray:
    """Return a column's cells without those that are far from all others."""
    return values[~are_far(values)] if scaled and column.kind in {"number", "date"} else values


def _is_closed(column: Column, codes: np.ndarray, validation: np.ndarray | None) -> bool:
    """Return whether a category has no rare values: training saw each at least `NEVER_RARE` times, and validation no other.

    Where validation rows, which may be newer, have new values, such values are usual: as strong evidence they would raise the
    threshold above all other anomalies.
    """
    if validation is not None and (validation == column.unseen).any():
        return False
    counts = np.bincount(codes[np.isfinite(codes)].astype(np.int64))
    return not column.rare and bool(counts[counts > 0].min(initial=NEVER_RARE) >= NEVER_RARE)


def _with_vocabulary(column: Column, series: pl.Series, missing: frozenset[str]) -> Column | None:
    """Return a column with the vocabulary of its training cells; None if these are all missing."""
    if column.kind != "category":
        if not np.isfinite(parse(series, column, missing).values).any():
            return None
        return msgspec.structs.replace(column, vocabulary=("false", "true")) if column.kind == "boolean" else column
    texts = cells.texts(series, missing).drop_nulls()
    if not len(texts):
        return None
    counts: dict[str, int] = {}
    for text, count in texts.value_counts(name="n").iter_rows():
        counts[cells.category_text(text)] = counts.get(cells.category_text(text), 0) + count
    by_frequency = sorted(counts, key=lambda text: (-counts[text], text))
    min_count = min(NEVER_RARE, max(2, len(texts) // RARE_SHARE))
    vocabulary = [text for text in by_frequency if counts[text] >= min_count][:MAX_VOCABULARY] or by_frequency[:1]
    rare = [text for text in by_frequency if text not in set(vocabulary)][:MAX_RARE]
    return msgspec.structs.replace(column, vocabulary=tuple(vocabulary), rare=tuple(rare))


def _with_range(column: Column, values: np.ndarray, usual: np.ndarray, *, scaled: bool) -> Column:
    """Return a column with the constancy, missing rate and profile of its training values, and the range of the usual ones."""
    present = values[np.isfinite(values)]
    may_be_constant = column.kind in {"boolean", "category", *(["number"] if scaled else [])}
    constant = may_be_constant and bool(np.all(present == present[0]))
    missing_rate = (len(values) - len(present) + 1) / (len(values) + 2)
    column = msgspec.structs.replace(column, constant=constant, missing_rate=missing_rate)
    if column.kind != "date":
        edges = bin_edges(column, values)
        bin_rows = bin_counts(edges, values).astype(int).tolist()
        column = msgspec.structs.replace(column, bins=tuple(edges.tolist()), bin_rows=tuple(bin_rows))
    if column.kind in {"number", "date"}:
        far = len(values) - len(usual)
        left_out = f"its range and scale leave out {far} training {'cell' if far == 1 else 'cells'} far from all others"
        return msgspec.structs.replace(
            column,
            lowest=float(np.nanmin(usual)),
            highest=float(np.nanmax(usual)),
            note="; ".join(filter(None, [column.note, left_out if far else ""])),
        )
    return column
