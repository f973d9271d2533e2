"""Reasons row by row equal those of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector import column_reasons
from detector.batch import Scalar, column
from detector.columns import encode
from detector.graph import Outputs
from detector.row_reasons import RowExplainer, rounded
from tests.detector.test_reasons import COLUMNS, NAMES

EXTRA = ["latent"]
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6).map(float)
MACHINES = st.sampled_from(["mill", " mill ", "3", "3.0", "lathe", "new", 3, 3.0, 4.5, True])
SECONDS = st.floats(-1e11, 1e11) | st.floats(-1e14, 1e14)
OPEN = st.sampled_from([None, "yes", "No", True, 0])
ROWS = st.tuples(
    st.none() | NUMBERS,
    st.none() | NUMBERS,
    st.none() | MACHINES,
    st.sampled_from([None, "yes", "No", True, 0]),
    st.none() | st.floats(4e7, 4e9),
)
EXPECTED = st.tuples(NUMBERS, NUMBERS, st.integers(0, 3), st.integers(0, 1), SECONDS | st.just(math.nan))
CONTRIBUTIONS = st.tuples(*[st.sampled_from([-1.0, 0.0, 0.01, 0.5, 1.0, 1.0, 7.25])] * 6)


@given(st.lists(st.tuples(ROWS, EXPECTED, CONTRIBUTIONS), min_size=1, max_size=3), st.integers(1, 7))
def test_reasons_row_by_row_equal_those_of_a_table(rows: list[tuple[Sequence[Scalar], ...]], top: int) -> None:
    values = dict(zip(NAMES, zip(*(cells for cells, _, _ in rows), strict=True), strict=True))
    numbers = {"duration", "serial", "at"}
    frame = pl.DataFrame([column(name, cells, numbers, typed=False) for name, cells in values.items()])
    matrix = encode(frame, COLUMNS, np.arange(len(rows))).matrix
    contribution = np.array([each for _, _, each in rows])
    outputs = Outputs(contribution.sum(axis=1), contribution, np.array([each for _, each, _ in rows], float))
    by_row = RowExplainer(COLUMNS, EXTRA).explain(matrix, outputs, top, lambda row, column: values[NAMES[column]][row])
    ranked = column_reasons.rank(frame, matrix, outputs, COLUMNS, EXTRA, top)
    flat = [(row, each.column, each.found, each.expected, each.share) for row, of_row in enumerate(by_row) for each in of_row]
    assert flat == ranked.select("at", "column", "found", "expected", "share").rows()


@pytest.mark.parametrize(
    ("value", "spread", "text"), [(123456.789, 0.0, 123457.0), (0.00012345678, 0.0, 0.000123457), (1e9 + 1.25, 6.0, 1e9 + 1.25)]
)
def test_six_digits_are_kept(value: float, spread: float, text: float) -> None:
    assert rounded(value, spread, 6) == text
    assert rounded(-value, spread, 6) == -text
