"""Vocabularies, constants, ranges and missing rates are learned from the training rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from detector.cells import missing_words
from detector.columns import Column
from training.layout import build_layout, learn_vocabularies


def vocabulary(cells: Sequence[object]) -> Column:
    frame = pl.DataFrame({"c": pl.Series(cells, strict=False)})
    (column,), ignored = learn_vocabularies(frame, [Column(name="c", kind="category")], missing_words())
    assert ignored == []
    return column


def test_rare_categories_share_a_code() -> None:
    column = vocabulary(["a"] * 400 + ["b"] * 180 + ["c"] * 5 + ["d"] * 4 + ["e"])
    assert column.vocabulary == ("a", "b", "c")
    assert column.rare == ("d", "e")
    assert [column.code_of(text) for text in "abcdef"] == [0, 1, 2, 3, 3, 4]


def test_a_value_seen_twice_in_few_rows_is_not_rare() -> None:
    column = vocabulary(["a", "a", "b", "b", "c"])
    assert (column.vocabulary, column.rare) == (("a", "b"), ("c",))
    column = vocabulary(["b", "a", "c"])
    assert (column.vocabulary, column.rare) == (("a",), ("b", "c"))


def test_vocabularies_are_capped() -> None:
    column = vocabulary([f"{n:05}" for n in range(11_000) for _ in range(5)])
    assert (len(column.vocabulary), len(column.rare)) == (256, 10_000)
    assert column.vocabulary[:2] == ("00000", "00001")


@pytest.mark.parametrize(
    "cells", [[3.0, 3.0, 2.5, 2.5, None], ["3", "3.0", "2.5", " 2.5 ", "NA"], ["3.00", "3", "2.5", "2.5", ""]]
)
def test_vocabularies_of_floats_and_texts_agree(cells: list[object]) -> None:
    assert vocabulary(cells).vocabulary == ("2.5", "3")


@pytest.mark.parametrize("kind", ["number", "category", "boolean", "date"])
def test_a_column_without_a_value_in_the_training_rows_is_ignored(kind: str) -> None:
    frame = pl.DataFrame({"empty": ["", None, "NA"], "full": ["1", "2", "3"]})
    columns = [Column(name="empty", kind=kind), Column(name="full", kind="number")]  # type: ignore[arg-type]
    kept, ignored = learn_vocabularies(frame, columns, missing_words())
    assert [column.name for column in kept] == ["full"]
    assert [(one.name, one.reason) for one in ignored] == [("empty", "has no value in the training rows")]


def test_the_layout_has_constants_ranges_and_missing_rates() -> None:
    matrix = np.array([[1.0, 7.0, 0.0, 5.0], [3.0, 7.0, 0.0, 5.0], [np.nan, np.nan, 1.0, 5.0]])
    columns = [
        Column(name="number", kind="number"),
        Column(name="same", kind="number"),
        Column(name="word", kind="category", vocabulary=("a", "b")),
        Column(name="day", kind="date"),
    ]
    layout = build_layout(matrix, columns)
    assert (layout.numbers, layout.dates, layout.categories, layout.constants) == ((0,), (3,), (2,), (1,))
    assert [column.constant for column in layout.columns] == [False, True, False, False]
    assert [column.missing_rate for column in layout.columns] == [2 / 5, 2 / 5, 1 / 5, 1 / 5]
    assert (layout.columns[0].lowest, layout.columns[0].highest) == (1.0, 3.0)
    assert (layout.constant_values, layout.rows, layout.feature_count, layout.code_counts) == ((7.0,), 3, 5, (2,))


def test_the_layout_has_the_profile_of_training_cells_but_for_dates() -> None:
    numbers = np.arange(1000.0)
    numbers[:10] = np.nan
    matrix = np.column_stack([numbers, np.arange(1000) % 3, np.arange(1000) % 2, np.arange(1000) * 1e6])
    columns = [
        Column(name="number", kind="number"),
        Column(name="word", kind="category", vocabulary=("a", "b"), rare=("c",)),
        Column(name="flag", kind="boolean", vocabulary=("false", "true")),
        Column(name="day", kind="date"),
    ]
    number, word, flag, day = build_layout(matrix, columns).columns
    assert len(number.bins) == 9
    assert (sum(number.bin_rows), number.bin_rows[-1]) == (1000, 10)
    assert min(number.bin_rows[:-1]) >= 98
    assert (word.bins, word.bin_rows) == ((0.5, 1.5, 2.5, 3.5), (334, 333, 333, 0, 0, 0))
    assert (flag.bins, flag.bin_rows) == ((0.5,), (500, 500, 0))
    assert (day.bins, day.bin_rows) == ((), ())


@pytest.mark.parametrize(("in_validation", "closed"), [(None, True), ([0.0, 1.0, np.nan], True), ([0.0, 2.0], False)])
def test_a_category_with_new_values_in_validation_is_not_closed(in_validation: list[float] | None, *, closed: bool) -> None:
    column = Column(name="word", kind="category", vocabulary=("a", "b"))
    training = np.tile([[0.0], [1.0]], (10, 1))
    validation = None if in_validation is None else np.array(in_validation)[:, None]
    assert build_layout(training, [column], validation).closed == (closed,)
