"""How numbers are centred and scaled, and vocabularies made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.cells import missing_words
from detector.columns import Column
from training.layout import build_layout, vocabularies
from training.scaling import learn

RANDOM = np.random.default_rng(0)


def test_columns_near_a_billion_keep_their_digits() -> None:
    small = RANDOM.normal(size=500)
    scaled = learn(1e9 + small)(1e9 + small)
    assert np.corrcoef(scaled, small)[0, 1] > 1 - 1e-12
    assert scaled.std() == pytest.approx(1)
    assert len(np.unique(scaled.astype(np.float32))) > 490


@pytest.mark.parametrize(
    ("values", "heavy"),
    [
        (RANDOM.normal(size=2000), False),
        (RANDOM.exponential(size=2000), False),
        (RANDOM.poisson(3, size=2000).astype(float), False),
        (np.floor(np.exp(RANDOM.normal(4, 2, size=2000))), True),
        (np.exp(RANDOM.normal(0, 4, size=2000)), True),
        (np.append(RANDOM.normal(size=500), 500.0), False),
        (np.append(RANDOM.normal(size=500), 50_000.0), True),
        (np.append(-RANDOM.normal(size=500), -50_000.0), True),
    ],
    ids=["normal", "exponential", "poisson", "counts", "lognormal", "far", "very far", "very far below"],
)
def test_heavy_tails_get_a_logarithm(values: np.ndarray, heavy: bool) -> None:  # noqa: FBT001 - a parameter
    scaling = learn(values)
    assert scaling.heavy is heavy
    scaled = scaling(values)
    assert scaled.mean() == pytest.approx(0, abs=1e-9)
    assert scaled.std() == pytest.approx(1)
    if heavy:
        assert scaling.centre == (values.min() if values.min() >= 0 else np.median(values))
        assert np.abs(scaled).max() < 25
    order = np.argsort(values)
    assert np.all(np.diff(scaled[order]) >= 0)


def test_counts_have_the_unit_one_and_others_their_typical_distance() -> None:
    assert learn(np.append(np.zeros(100), [1.0, 1000.0])).unit == 1
    values = np.append(np.linspace(-1, 1, 101), 1e6)
    assert learn(values).unit == pytest.approx(0.5, rel=0.05)


def test_missing_values_teach_nothing() -> None:
    values = RANDOM.normal(size=100)
    assert learn(np.append(values, [np.nan, np.inf])) == learn(values)


number = st.floats(-1e100, 1e100).map(lambda x: 0.0 if abs(x) < 1e-100 else x)


@given(st.lists(number, min_size=2, max_size=40).filter(lambda v: len(set(v)) > 1))
def test_any_values_are_scaled_to_finite_ones_in_order(values: list[float]) -> None:
    array = np.sort(values)
    scaled = learn(array)(array)
    assert np.isfinite(scaled).all()
    assert np.all(np.diff(scaled) >= 0)


@pytest.mark.parametrize(
    "values", [[1e308, -1e308, 1.0], [1e200, 1e300], [1e300, 0.0, 1.0], [0.0, 5e-324, 5e-324, 5e-324, 0.0, 1.0]]
)
def test_values_at_the_ends_of_float64_are_scaled_to_finite_ones(values: list[float]) -> None:
    array = np.sort(values)
    scaled = learn(array)(array)
    assert np.isfinite(scaled).all()
    assert np.all(np.diff(scaled) >= 0)


def vocabulary(cells: Sequence[object]) -> Column:
    frame = pl.DataFrame({"c": pl.Series(cells, strict=False)})
    (column,), ignored = vocabularies(frame, [Column(name="c", kind="category")], missing_words())
    assert ignored == []
    return column


def test_rare_categories_share_a_code() -> None:
    column = vocabulary(["a"] * 400 + ["b"] * 180 + ["c"] * 5 + ["d"] * 4 + ["e"])
    assert column.vocabulary == ("a", "b", "c")
    assert column.rare == ("d", "e")
    assert [column.code_of(text) for text in "abcdef"] == [0, 1, 2, 3, 3, 4]


def test_in_few_rows_a_value_seen_twice_is_not_rare() -> None:
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
def test_a_column_without_a_value_in_the_training_rows_is_left_out(kind: str) -> None:
    frame = pl.DataFrame({"empty": ["", None, "NA"], "full": ["1", "2", "3"]})
    columns = [Column(name="empty", kind=kind), Column(name="full", kind="number")]  # type: ignore[arg-type]
    kept, ignored = vocabularies(frame, columns, missing_words())
    assert [column.name for column in kept] == ["full"]
    assert [(one.name, one.reason) for one in ignored] == [("empty", "has no value in the training rows")]


def test_layout_finds_constants_ranges_and_missing_rates() -> None:
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
    assert (layout.constant_values, layout.rows, layout.features, layout.codes) == ((7.0,), 3, 5, (2,))
