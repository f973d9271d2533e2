"""Cells to numbers: every door's rows go through here."""

from __future__ import annotations

import datetime as dt
import math
import re
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.columns import Column, Encoded, Kind, as_frame, encode
from detector.errors import TableError

KINDS: list[Kind] = ["number", "category", "boolean", "date"]
NAN = math.nan


def encoded(values: Any, kind: Kind, *, missing: tuple[str, ...] = (), dtype: Any = None) -> Encoded:  # noqa: ANN401
    series = values.alias("c") if isinstance(values, pl.Series) else pl.Series("c", values, dtype=dtype)
    column = Column(name="c", kind=kind, vocabulary=("3", "mill", "true", "2.5"), rare=("lathe",))
    return encode(series.to_frame(), [column], np.arange(len(series)), missing=missing)


def matrix(values: Any, kind: Kind, *, missing: tuple[str, ...] = (), dtype: Any = None) -> list[float]:  # noqa: ANN401
    found = encoded(values, kind, missing=missing, dtype=dtype)
    assert found.rejects == []
    return [float(value) for value in found.matrix[:, 0]]


def same(found: list[float], wanted: list[float]) -> None:
    np.testing.assert_array_equal(found, wanted)  # NaN is NaN, and nothing else is near enough


@pytest.mark.parametrize("text", ["", "  ", "NA", "na", " N/A ", "NaN", "nan", "NULL", "Null", "none", "None\t"])
@pytest.mark.parametrize("kind", KINDS)
def test_words_for_a_missing_cell_in_any_case_and_trimmed(kind: Kind, text: str) -> None:
    same(matrix([text, None], kind), [NAN, NAN])


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_without_a_type_is_missing(kind: Kind) -> None:
    same(matrix([None, None], kind), [NAN, NAN])


@pytest.mark.parametrize("kind", KINDS)
def test_more_words_may_stand_for_missing(kind: Kind) -> None:
    same(matrix(["unknown", " UNKNOWN"], kind, missing=("Unknown ",)), [NAN, NAN])


@pytest.mark.parametrize("values", [["-999", "-999.0", "-9.99e2", "7"], [-999, -999, -999, 7], [-999.0, -999.0, -999.0, 7.0]])
@pytest.mark.parametrize("kind", ["number", "date"])
def test_a_number_that_stands_for_missing_is_known_however_it_is_written(kind: Kind, values: list[Any]) -> None:
    same(matrix(values, kind, missing=("-999",)), [NAN, NAN, NAN, 7.0])


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), (" 1.5 ", 1.5), ("+5", 5.0), ("-.5", -0.5), ("1E5", 1e5), ("1e-400", 0.0), ("9007199254740993", 2.0**53)],
)
def test_numbers_in_text(text: str, value: float) -> None:
    same(matrix([text], "number"), [value])


@pytest.mark.parametrize("text", ["abc", "1,5", "1_000", "0x10", "1e400", "-1e999", "1e", "--1", "1 2", "true", "2026-01-31"])
def test_what_is_no_number_is_rejected(text: str) -> None:
    found = encoded(["1", text, "3"], "number")
    assert found.accepted.tolist() == [True, False, True]
    same(list(found.matrix[:, 0]), [1.0, 3.0])
    (reject,) = found.rejects
    assert (reject.row, reject.column, reject.found, reject.expected) == (1, "c", repr(text), "a number")


@pytest.mark.parametrize("text", ["inf", "-INF", "+Infinity", " infinity "])
@pytest.mark.parametrize("kind", ["number", "date"])
def test_an_infinity_in_words_is_missing_and_counted(kind: Kind, text: str) -> None:
    found = encoded([text, "5"], kind)
    same(list(found.matrix[:, 0]), [NAN, 5.0])
    assert (found.infinite, found.rejects) == (1, [])


def test_an_infinite_number_is_missing_and_counted() -> None:
    found = encoded([math.inf, -math.inf, NAN, 1.0], "number")
    same(list(found.matrix[:, 0]), [NAN, NAN, NAN, 1.0])
    assert found.infinite == 2


def test_numbers_of_every_type() -> None:
    for dtype in (pl.Int8, pl.UInt64, pl.Float32, pl.Int128, pl.Decimal(10, 2), pl.Categorical):
        values: list[Any] = ["3", None] if dtype == pl.Categorical else [Decimal(3) if dtype == pl.Decimal(10, 2) else 3, None]
        same(matrix(values, "number", dtype=dtype), [3.0, NAN])


@pytest.mark.parametrize("values", [["3", "mill", "lathe", "crane"], ["3.0", " mill ", "lathe", "Mill"]])
def test_categories_are_known_by_their_text(values: list[str]) -> None:
    same(matrix(values, "category"), [0.0, 1.0, 4.0, 5.0])


@pytest.mark.parametrize("values", [[3.0, 2.5, NAN, 4.0], ["3", "2.5", "", "4"], ["3.000", "2.5", "nan", "4.0"]])
def test_categories_of_floats_agree_with_text(values: list[Any]) -> None:
    same(matrix(values, "category"), [0.0, 3.0, NAN, 5.0])


@pytest.mark.parametrize("values", [[3, None], ["3", None]])
@pytest.mark.parametrize("dtype", [None, pl.Categorical, pl.String])
def test_categories_of_other_types_agree_with_text(values: list[Any], dtype: Any) -> None:  # noqa: ANN401
    series = pl.Series(values).cast(pl.String) if dtype == pl.Categorical else pl.Series(values)
    same(matrix(series if dtype is None else series.cast(dtype), "category"), [0.0, NAN])


def test_booleans() -> None:
    same(matrix(["true", "YES", " t", "1", "1.0", "False", "no", "F", "0", "0.0"], "boolean"), [1.0] * 5 + [0.0] * 5)
    for values in ([True, False, None], [1, 0, None], [1.0, 0.0, NAN]):
        same(matrix(values, "boolean"), [1.0, 0.0, NAN])
    assert [reject.found for reject in encoded(["maybe", "2", "yes"], "boolean").rejects] == ["'maybe'", "'2'"]


MOMENT = dt.datetime(2026, 1, 31, 18, 30, tzinfo=dt.UTC).timestamp()
DAY = dt.datetime(2026, 1, 31, tzinfo=dt.UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-01-31", DAY),
        ("2026/01/31", DAY),
        ("31.01.2026", DAY),
        ("2026-01-31 18:30:00", MOMENT),
        (" 2026-01-31T18:30:00 ", MOMENT),
        ("2026-01-31T18:30:00.25", MOMENT + 0.25),
        ("2026-01-31 18:30", MOMENT),
        ("31.01.2026 18:30", MOMENT),
        ("2026-01-31T18:30:00Z", MOMENT),
        ("2026-01-31T18:30:00z", MOMENT),
        ("2026-01-31T20:30:00+02:00", MOMENT),
        ("2026-01-31T20:30:00+0200", MOMENT),
        ("2026-01-31 10:30:00.000 -08:00", MOMENT),
        ("2026-01-31T18:30Z", MOMENT),
        (f"{MOMENT:.0f}", MOMENT),
        (f"{MOMENT + 0.5}", MOMENT + 0.5),
        ("-86400", -86_400.0),
    ],
)
def test_dates_in_text(text: str, seconds: float) -> None:
    same(matrix([text], "date"), [seconds])


@pytest.mark.parametrize("text", ["yesterday", "2026-02-30", "2026-13-01", "18:30", "1e400", "2026-01-31T25:00:00"])
def test_what_is_no_date_is_rejected(text: str) -> None:
    found = encoded(["2026-01-31", text], "date")
    assert found.accepted.tolist() == [True, False]
    assert found.rejects[0].expected == "a date such as 2026-01-31 18:30:00"


def test_dates_of_every_type() -> None:
    naive = dt.datetime(2026, 1, 31, 18, 30)  # noqa: DTZ001 - UTC unless it says otherwise
    berlin = pl.Series([naive]).dt.replace_time_zone("Europe/Berlin")
    same(matrix([dt.date(2026, 1, 31), None], "date"), [DAY, NAN])
    same(matrix(pl.Series([2**30], dtype=pl.Int32).cast(pl.Date), "date"), [86_400.0 * 2**30])  # beyond all calendars
    same(matrix([int(MOMENT), None], "date"), [MOMENT, NAN])
    same(matrix([MOMENT, NAN], "date"), [MOMENT, NAN])
    same(matrix(berlin, "date"), [MOMENT - 3600])
    for unit in ("ms", "us", "ns"):
        same(matrix([naive, None], "date", dtype=pl.Datetime(unit)), [MOMENT, NAN])


@pytest.mark.parametrize(
    "values",
    [[[1], [2]], [{"a": 1}] * 2, [b"\xff", b"1"], [dt.time(1)] * 2, [dt.timedelta(1)] * 2],
    ids=["list", "struct", "bytes", "time", "duration"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_cells_of_strange_types_are_read_as_text(kind: Kind, values: list[Any]) -> None:
    found = encoded(values, kind)
    if kind == "category":
        same(list(found.matrix[:, 0]), [5.0, 5.0])  # unseen
    else:
        assert len(found.rejects) == 2


def test_objects_are_read_as_text() -> None:
    same(matrix(pl.Series([Decimal(3), None], dtype=pl.Object), "number"), [3.0, NAN])


def test_a_row_is_rejected_for_its_first_bad_cell() -> None:
    frame = pl.DataFrame({"b": ["x", "1", "2", "y"], "a": ["1", "z", "2", "w"], "free": ["?"] * 4})
    columns = [Column(name="a", kind="number"), Column(name="b", kind="number")]
    found = encode(frame, columns, np.array([10, 12, 13, 17]), file="today.csv")
    assert [(r.row, r.column, r.found, r.file) for r in found.rejects] == [
        (10, "b", "'x'", "today.csv"),
        (12, "a", "'z'", "today.csv"),
        (17, "a", "'w'", "today.csv"),
    ]
    assert found.matrix.tolist() == [[2.0, 2.0]]


def test_what_was_found_is_told_in_one_short_line() -> None:
    (reject,) = encoded(["a\nb\r\n" * 100], "number").rejects
    assert len(reject.found) <= 80
    assert str(reject).isprintable()


def test_a_missing_column_is_named_with_those_that_are_near() -> None:
    frame = pl.DataFrame({"temperatur": [1.0], "Druck": [2.0]})
    columns = [Column(name="temperature", kind="number"), Column(name="flow", kind="number")]
    with pytest.raises(TableError, match=r"lacks the columns 'temperature', 'flow' \(near: 'temperatur'\); it has .*'Druck'"):
        encode(frame, columns, np.arange(1))


def test_a_frame_without_rows() -> None:
    for kind in KINDS:
        for dtype in (pl.String, pl.Float64, pl.Null):
            assert encoded([], kind, dtype=dtype).matrix.shape == (0, 1)


words = st.sampled_from(["", "NA", "3", "3.0", "inf", "1e400", "yes", "mill", "2026-01-31", "2026-01-31T10:00+02", "\ufeff", "٣"])
cells = st.none() | words | st.text(max_size=12) | st.floats().map(str)


@given(st.lists(cells, max_size=30), st.sampled_from(KINDS), st.lists(st.text(max_size=4), max_size=2))
def test_any_text_is_either_read_or_rejected(texts: list[str | None], kind: Kind, missing: list[str]) -> None:
    found = encoded(texts, kind, missing=tuple(missing), dtype=pl.String)
    assert len(found.matrix) + len(found.rejects) == len(texts)
    assert np.flatnonzero(~found.accepted).tolist() == [reject.row for reject in found.rejects]
    assert not np.isinf(found.matrix).any()
    if kind == "category":
        assert not found.rejects


@given(st.lists(st.none() | st.floats(), max_size=30), st.sampled_from(["", "-1"]))
def test_text_and_typed_numbers_give_the_same_matrix(values: list[float | None], missing: str) -> None:
    typed = encoded(values, "number", missing=(missing,), dtype=pl.Float64)
    text = encoded([None if v is None else repr(v) for v in values], "number", missing=(missing,), dtype=pl.String)
    np.testing.assert_array_equal(typed.matrix, text.matrix)
    assert (typed.infinite, typed.rejects) == (text.infinite, text.rejects)


@given(st.lists(st.none() | st.integers(-(2**53), 2**53), max_size=30), st.sampled_from(KINDS[:2]))
def test_integers_floats_and_text_are_the_same(values: list[int | None], kind: Kind) -> None:
    whole = pl.Series(values, dtype=pl.Int64)
    types = [pl.Int64, pl.String, pl.Float64] if all(v is None or abs(v) < 10**15 for v in values) else [pl.Int64, pl.String]
    ways = [encoded(whole.cast(dtype), kind).matrix for dtype in types]
    for way in ways[1:]:
        np.testing.assert_array_equal(way, ways[0])


@given(st.lists(cells, min_size=1, max_size=20), st.sampled_from(KINDS), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(texts: list[str | None], kind: Kind, random: Any) -> None:  # noqa: ANN401
    order = random.sample(range(len(texts)), len(texts))
    straight, turned = (encoded(rows, kind, dtype=pl.String) for rows in (texts, [texts[at] for at in order]))
    assert turned.accepted.tolist() == straight.accepted[order].tolist()
    place = np.cumsum(straight.accepted) - 1
    np.testing.assert_array_equal(turned.matrix, straight.matrix[[place[at] for at in order if straight.accepted[at]]])
    assert turned.infinite == straight.infinite


def test_a_message_lists_no_more_names_than_anyone_reads() -> None:
    with pytest.raises(TableError) as caught:
        encode(pl.DataFrame({f"x{i}": [1] for i in range(500)}), [Column(name="y", kind="number")], np.arange(1))
    assert re.search("and 480 more$", str(caught.value))


def test_a_matrix_becomes_cells_that_read_as_the_same() -> None:
    columns = [
        Column(name="flow", kind="number"),
        Column(name="machine", kind="category", vocabulary=("press", "7"), rare=("crane", "mill")),
        Column(name="open", kind="boolean", vocabulary=("false", "true")),
        Column(name="at", kind="date"),
    ]
    matrix = np.array([[1.5, 0, 1, 1.76e9], [-1e300, 1, 0, 0], [np.nan] * 4, [0, 2, 1, 1e15]])
    frame = as_frame(matrix, columns)
    assert frame["machine"].to_list() == ["press", "7", None, "crane"]
    assert frame["open"].to_list() == [True, False, None, True]
    assert frame["at"].to_list() == ["2025-10-09 08:53:20", "1970-01-01 00:00:00", None, "1000000000000000"]
    np.testing.assert_array_equal(encode(frame, columns, np.arange(4)).matrix, matrix)
    text = pl.read_csv(frame.write_csv().encode(), infer_schema=False)
    np.testing.assert_array_equal(encode(text, columns, np.arange(4)).matrix, matrix)
    assert as_frame(matrix[:0], columns).schema == frame.schema
