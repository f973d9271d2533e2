from __future__ import annotations

import datetime as dt

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.batch import Scalar, TableBatch, column
from detector.columns import Column, Encoded, encode
from detector.inputs.series import keyed_rows
from detector.record_encoder import RecordEncoder, TimeKeyEncoder
from detector.windows import Window

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
def test_the_fast_path_agrees_with_the_full_parser(rows: list[tuple[Scalar, ...]]) -> None:
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
def test_unreadable_cells_are_left_to_the_full_parser(row: tuple[Scalar, ...]) -> None:
    assert RecordEncoder(COLUMNS, MISSING).encode({each.name: [cell] for each, cell in zip(COLUMNS, row, strict=True)}) is None


WINDOW = Window(time="ts", key="machine", length=3, max_gap=10.0)
FIRST = dt.datetime(1000, 1, 1)  # noqa: DTZ001 - cells without an offset
OFFSETS = st.sampled_from(["", "Z", "z", "+02:00", "-11:30", "+0200", " UTC", "+25:00"])
TIMES = st.tuples(st.datetimes(FIRST), st.sampled_from([" ", "T", "  "]), OFFSETS).map(
    lambda it: it[0].isoformat(it[1][:1]) + it[2]
)
KEYS = st.sampled_from(["press", " press ", "7", "7.0", 7, 7.0, "", "N/A", "unknown", None, True, "PRESS"])


@given(st.lists(st.tuples(TIMES | CELLS, KEYS), min_size=1, max_size=3), st.sampled_from([None, "press", "7"]))
def test_times_and_keys_agree_with_those_of_a_table(rows: list[tuple[Scalar, Scalar]], only: str | None) -> None:
    values = {"ts": [row[0] for row in rows], "machine": [row[1] for row in rows]}
    short = TimeKeyEncoder(WINDOW, MISSING).encode(values, only)
    if short is None:
        return
    frame = pl.DataFrame([column(name, cells, (), typed=False) for name, cells in values.items()])
    encoded = Encoded(np.zeros((len(rows), 1)), np.ones(len(rows), dtype=bool), [], 0)
    long, rejects = keyed_rows(TableBatch(frame, np.arange(len(rows)), []), encoded, WINDOW, MISSING, only)
    assert rejects == []
    assert short[0] == long.keys
    np.testing.assert_array_equal(short[1], long.times)


@pytest.mark.parametrize(
    "time", ["2026-01-31 18:30:00", "2026-01-31T18:30:00.25Z", "2026-01-31T18:30:00+02:00", 1.5, 1_769_000_000]
)
def test_plain_times_take_the_fast_path(time: Scalar) -> None:
    of_dates, of_numbers = (
        TimeKeyEncoder(each, MISSING) for each in (WINDOW, msgspec.structs.replace(WINDOW, time_format="numbers"))
    )
    encoder, other = (of_dates, of_numbers) if isinstance(time, str) else (of_numbers, of_dates)
    assert other.encode({"ts": [time], "machine": ["press"]}) is None
    assert encoder.encode({"ts": [time], "machine": ["press"]}) is not None
    assert encoder.encode({"ts": [time], "machine": [None]}, "press") is not None
    assert encoder.encode({"ts": [time], "machine": [None]}) is None
    assert encoder.encode({"ts": [time], "machine": ["lathe"]}, "press") is None
