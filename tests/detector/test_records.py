from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.columns import Column, encode
from detector.files.json_lines import Scalar
from detector.files.ndjson import column
from detector.records import RecordEncoder

COLUMNS = (
    Column(name="load", kind="number"),
    Column(name="machine", kind="category", vocabulary=("press", "7", "é"), rare=("lathe",)),
    Column(name="open", kind="boolean"),
    Column(name="at", kind="date"),
)
MISSING = ("-999", "Unknown")
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.just(-999)
WORDS = st.sampled_from(
    ["press", " press ", "PRESS", "7", "7.0", "é", "lathe", "", "N/A", "unknown", "yes", "No", "T", "2", "2026-01-31", "inf"]
)
DATES = st.datetimes().map(lambda at: at.replace(microsecond=0).isoformat(" "))
CELLS: st.SearchStrategy[Scalar] = st.none() | NUMBERS | WORDS | DATES | st.booleans() | st.text(max_size=3)


@given(st.lists(st.tuples(*[CELLS] * 4), min_size=1, max_size=4))
def test_the_short_way_gives_what_the_long_one_gives(rows: list[tuple[Scalar, ...]]) -> None:
    values = {each.name: [row[place] for row in rows] for place, each in enumerate(COLUMNS)}
    short = RecordEncoder(COLUMNS, MISSING).encode(values)
    frame = pl.DataFrame([column(name, cells, {"load"}, typed=False) for name, cells in values.items()])
    long = encode(frame, COLUMNS, np.arange(len(rows)), missing=MISSING)
    if short is None:
        return
    assert long.rejects == []
    np.testing.assert_array_equal(short, long.matrix)


@pytest.mark.parametrize(
    "row", [(1.5, "press", True, "2026-01-31 18:30:00"), (None, None, None, None), (-999, "new", "no", None)]
)
def test_ordinary_rows_go_the_short_way(row: tuple[Scalar, ...]) -> None:
    assert (
        RecordEncoder(COLUMNS, MISSING).encode({each.name: [cell] for each, cell in zip(COLUMNS, row, strict=True)}) is not None
    )


@pytest.mark.parametrize(
    "row", [("x", None, None, None), (None, None, 2, None), (None, None, None, "soon"), (10**400, None, None, None)]
)
def test_what_cannot_be_read_is_left_to_the_long_way(row: tuple[Scalar, ...]) -> None:
    assert RecordEncoder(COLUMNS, MISSING).encode({each.name: [cell] for each, cell in zip(COLUMNS, row, strict=True)}) is None
