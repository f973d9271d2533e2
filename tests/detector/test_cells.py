"""Parsing cells: text and native types agree on what is missing, a number, a category, a boolean or a date."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector import cells as parsers_of
from detector.columns import Column, Encoded, Kind, encode

KINDS: list[Kind] = ["number", "category", "boolean", "date"]


NAN = math.nan


def encoded(values: Any, kind: Kind, *, missing: tuple[str, ...] = (), dtype: Any = None, **written: str) -> Encoded:  # noqa: ANN401
    series = values.alias("c") if isinstance(values, pl.Series) else pl.Series("c", values, dtype=dtype)
    column = Column(name="c", kind=kind, vocabulary=("3", "mill", "true", "2.5"), rare=("lathe",), **written)  # type: ignore[arg-type]
    return encode(series.to_frame(), [column], np.arange(len(series)), missing=missing)


def matrix(values: Any, kind: Kind, *, missing: tuple[str, ...] = (), dtype: Any = None, **written: str) -> list[float]:  # noqa: ANN401
    found = encoded(values, kind, missing=missing, dtype=dtype, **written)
    assert found.rejects == []
    return [float(value) for value in found.matrix[:, 0]]


def same(found: list[float], wanted: list[float]) -> None:
    np.testing.assert_array_equal(found, wanted)  # NaN is NaN, and nothing else is near enough


@pytest.mark.parametrize("text", ["", "  ", "NA", "na", " N/A ", "NaN", "nan", "NULL", "Null", "none", "None\t"])
@pytest.mark.parametrize("kind", KINDS)
def test_words_for_a_missing_cell_in_any_case_and_untrimmed(kind: Kind, text: str) -> None:
    same(matrix([text, None], kind), [NAN, NAN])


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_without_a_type_is_missing(kind: Kind) -> None:
    same(matrix([None, None], kind), [NAN, NAN])


@pytest.mark.parametrize("kind", KINDS)
def test_additional_words_for_a_missing_cell(kind: Kind) -> None:
    same(matrix(["unknown", " UNKNOWN"], kind, missing=("Unknown ",)), [NAN, NAN])


@pytest.mark.parametrize("values", [["-999", "-999.0", "-9.99e2", "7"], [-999, -999, -999, 7], [-999.0, -999.0, -999.0, 7.0]])
def test_a_number_that_means_missing_in_any_spelling(values: list[Any]) -> None:
    same(matrix(values, "number", missing=("-999",)), [NAN, NAN, NAN, 7.0])
    assert encoded(values, "date", missing=("-999",), date_format="s").accepted.tolist() == [True] * 3 + [False]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), (" 1.5 ", 1.5), ("+5", 5.0), ("-.5", -0.5), ("1E5", 1e5), ("1e-400", 0.0), ("9007199254740993", 2.0**53)],
)
def test_numbers_in_text(text: str, value: float) -> None:
    same(matrix([text], "number"), [value])


@pytest.mark.parametrize("text", ["abc", "1,5", "1_000", "0x10", "1e400", "-1e999", "1e", "--1", "1 2", "true", "2026-01-31"])
def test_texts_that_are_not_numbers_are_rejected(text: str) -> None:
    found = encoded(["1", text, "3"], "number")
    assert found.accepted.tolist() == [True, False, True]
    same(list(found.matrix[:, 0]), [1.0, 3.0])
    (reject,) = found.rejects
    assert (reject.row, reject.column, reject.found, reject.expected) == (1, "c", repr(text), "a number")


@pytest.mark.parametrize("text", ["inf", "-INF", "+Infinity", " infinity "])
def test_an_infinity_in_words_is_beyond_all_numbers_and_counted(text: str) -> None:
    found = encoded([text, "5"], "number")
    same(list(found.matrix[:, 0]), [-math.inf if "-" in text else math.inf, 5.0])
    assert (found.infinite, found.rejects) == (1, [])
    same(matrix([text, "5"], "number", missing=("inf",)), [NAN, 5.0])
    assert len(encoded([text], "date").rejects) == 1


def test_an_infinite_number_is_beyond_all_numbers_and_counted() -> None:
    values = [math.inf, -math.inf, NAN, 1.0]
    found = encoded(values, "number")
    same(list(found.matrix[:, 0]), values)
    assert found.infinite == 2
    same(matrix(values, "number", missing=("-Infinity",)), [NAN, NAN, NAN, 1.0])


def test_an_infinity_is_nothing_to_learn_from() -> None:
    frame = pl.DataFrame({"c": [math.inf, 1.0]})
    found = encode(frame, [Column(name="c", kind="number")], np.arange(2), finite=True)
    same(list(found.matrix[:, 0]), [1.0])
    assert found.rejects[0].expected == "a finite number (--missing inf reads an infinity as missing)"


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
    ],
)
def test_dates_in_text(text: str, seconds: float) -> None:
    same(matrix([text], "date"), [seconds])


@pytest.mark.parametrize(
    ("date_format", "expected"),
    [
        ("%d/%m/%Y", "a date like dd/mm/yyyy"),
        ("%y-%m-%d", "a date like yy-mm-dd"),
        ("%d %B %Y", "a date like %d %B %Y"),
        ("ms", "a date in milliseconds since 1970"),
    ],
)
def test_messages_say_how_dates_are_written(date_format: str, expected: str) -> None:
    assert [reject.expected for reject in encoded(["never"], "date", date_format=date_format).rejects] == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        f"{MOMENT:.0f}000",
        "46053",
        "31/01/2026",
        "26-01-31",
        "31.01.26",
        "2026-02-30",
        "2026-13-01",
        "18:30",
        "1e400",
        "2026-01-31T25:00:00",
    ],
)
def test_texts_that_are_not_dates_are_rejected(text: str) -> None:
    found = encoded(["2026-01-31", text], "date")
    assert found.accepted.tolist() == [True, False]
    assert found.rejects[0].expected == "a date such as 2026-01-31 18:30:00"


@pytest.mark.parametrize(
    ("date_format", "cells", "others"),
    [
        ("", [MOMENT, f"{MOMENT:.0f}", "2026-01-31 18:30"], [MOMENT * 1e3, 46_053, 20260131, "inf", "31/01/2026"]),
        ("s", [MOMENT, f"{MOMENT:.0f}", "2026-01-31T18:30:00Z"], [MOMENT * 1e3, 46_053, 20260131, "inf", "31/01/2026"]),
        ("ms", [MOMENT * 1e3, f"{MOMENT * 1e3:.0f}"], [MOMENT, MOMENT * 1e6, 20260131]),
        ("us", [int(MOMENT) * 1_000_000], [MOMENT, MOMENT * 1e3]),
        ("ns", [int(MOMENT) * 1_000_000_000], [MOMENT, MOMENT * 1e3]),
        ("serial", [46_053 + 18.5 / 24], [MOMENT, 20260131, 1.5]),
        ("%Y%m%d%H%M", [202601311830, "202601311830"], [20260131, 202601311860, 202613311830]),
        (
            "%d/%m/%y",
            ["31/01/26 18:30", "31/1/26 6:30 PM", "2026-01-31 18:30:00"],
            ["01/31/26", "31/01/2026", MOMENT, "1769884200"],
        ),
        ("%m/%d/%Y", ["01/31/2026 18:30", "1/31/2026, 18:30:00"], ["31/01/2026", "01/31/26"]),
        ("%B %d, %Y", ["January 31, 2026 18:30", "Jan 31, 2026 6:30pm"], ["31 January 2026"]),
        ("%d.%m.%Y um %H:%M", ["31.01.2026 um 18:30"], ["31.01.2026", "01-31-2026"]),
    ],
)
def test_dates_have_one_format_or_unit(date_format: str, cells: list[Any], others: list[Any]) -> None:
    for cell in cells:
        same(matrix([cell], "date", date_format=date_format), [MOMENT])
    for cell in others:
        (reject,) = encoded([cell], "date", date_format=date_format).rejects
        assert reject.expected.startswith("a date ")


@pytest.mark.parametrize(
    ("written", "cells", "others"),
    [
        ({"unit": "%"}, ["1200%", "1200 %", "1200", 1200], ["1200 kg", "12 00%", "%"]),
        ({"unit": "kg"}, ["1200kg", " +1200.0 kg"], ["1200 g", "1200 KG", "1200 kgs"]),
        ({"unit": "$", "thousands": ","}, ["$1,200", "$ 1200", "1,200.00$"], ["\u20ac1,200", "$1,20", "$12,00", "$01,200"]),
        ({"thousands": ","}, ["1,200", "1200", "1200.0", "1,200.", "1.2e3"], ["1.200,0", "1,2", "1,2000", "0,120"]),
        ({"thousands": ".", "decimal": ","}, ["1.200", "1200", "1200,0", "1.200,00"], ["1200.0", "1,200.0", "1.2"]),
        ({"thousands": " "}, ["1 200", "1\u00a0200", "1\u202f200", "1200.0"], ["1 2", "1,200"]),
        ({"thousands": "'"}, ["1'200", "1\u2019200.0"], ["1 200"]),
    ],
)
def test_numbers_have_one_format(written: dict[str, str], cells: list[Any], others: list[Any]) -> None:
    for cell in cells:
        same(matrix([cell], "number", **written), [1200.0])
    for cell in others:
        (reject,) = encoded([cell], "number", **written).rejects
        assert reject.expected.startswith("a number ")
    same(matrix(["-", "#DIV/0!", "-1200", None], "number", **written), [NAN, NAN, -1200.0, NAN])


@pytest.mark.parametrize("text", ["-", "?", ".", "--", "#N/A", "#DIV/0!", "#VALUE!", "#REF!", "\\N", "<NA>", " n/a ", "\u2014"])
def test_placeholders_are_missing_where_they_are_no_value(text: str) -> None:
    for kind in KINDS:
        if kind != "category":
            same(matrix([text], kind), [NAN])
    assert encoded(["-"], "category").matrix.tolist() == [[5.0]]


def test_dates_of_every_type() -> None:
    naive = dt.datetime(2026, 1, 31, 18, 30)  # noqa: DTZ001 - UTC unless it says otherwise
    berlin = pl.Series([naive]).dt.replace_time_zone("Europe/Berlin")
    same(matrix([dt.date(2026, 1, 31), None], "date"), [DAY, NAN])
    assert len(encoded(pl.Series([2**30], dtype=pl.Int32).cast(pl.Date), "date").rejects) == 1  # beyond all calendars
    same(matrix([int(MOMENT), None], "date", date_format="s"), [MOMENT, NAN])
    same(matrix([MOMENT, NAN], "date", date_format="s"), [MOMENT, NAN])
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
        unseen = [5.0, 5.0] if values[0] != b"\xff" else [5.0]
        same(list(found.matrix[:, 0]), unseen)
        assert [(reject.found, reject.expected) for reject in found.rejects] == [(repr(b"\xff"), "UTF-8")] * (2 - len(unseen))
    else:
        assert len(found.rejects) == (2 if values[1] != b"1" or kind == "date" else 1)


def test_objects_are_read_as_text() -> None:
    same(matrix(pl.Series([Decimal(3), None], dtype=pl.Object), "number"), [3.0, NAN])


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


def parsed(series: pl.Series, kind: Kind) -> tuple[list[float], list[bool], int]:
    """Parse a series with the parser of its kind: values (missing: -1), bad cells, number of infinities."""
    coding = {"3": 0, "mill": 1, "true": 2}
    parsers = {
        "number": parsers_of.numbers,
        "date": parsers_of.dates,
        "boolean": parsers_of.booleans,
        "category": lambda column: parsers_of.categories(column, parsers_of.MISSING, coding, 3),
    }
    values, bad, infinite = parsers[kind](series)
    bad = np.zeros(len(series), dtype=bool) if bad is None else bad
    return np.where(np.isnan(values) | bad, -1.0, values).tolist(), bad.tolist(), infinite


MOMENTS = st.datetimes(dt.datetime(1000, 1, 1), dt.datetime(9999, 12, 31))  # noqa: DTZ001 - cells without an offset


@given(st.lists(st.none() | st.booleans(), min_size=1), st.sampled_from(["boolean", "category", "number"]))
def test_native_booleans_agree_with_their_text(values: list[bool | None], kind: Kind) -> None:
    native = parsed(pl.Series(values, dtype=pl.Boolean), kind)
    spellings = ("0", "1") if kind == "number" else ("false", "true")
    text = parsed(pl.Series([None if value is None else spellings[value] for value in values], dtype=pl.String), kind)
    assert native == text


@given(st.lists(st.none() | MOMENTS, min_size=1), st.sampled_from(["T", " "]))
def test_native_datetimes_agree_with_their_iso_text(values: list[dt.datetime | None], separator: str) -> None:
    native = parsed(pl.Series(values, dtype=pl.Datetime("us")), "date")
    text = pl.Series([None if value is None else value.isoformat(separator) for value in values], dtype=pl.String)
    assert native == parsed(text, "date")
    assert not any(native[1])


@given(st.lists(st.none() | st.dates(), min_size=1))
def test_native_dates_agree_with_their_iso_text(values: list[dt.date | None]) -> None:
    text = pl.Series([None if value is None else value.isoformat() for value in values], dtype=pl.String)
    assert parsed(pl.Series(values, dtype=pl.Date), "date") == parsed(text, "date")


@given(st.lists(st.none() | st.sampled_from(["mill", "3", "3.0", " true ", "crane", "NA", ""]), min_size=1))
def test_native_categories_agree_with_their_text(values: list[str | None]) -> None:
    text = pl.Series(values, dtype=pl.String)
    assert parsed(text.cast(pl.Categorical), "category") == parsed(text, "category")
    codes, bad, _ = parsed(text, "category")
    assert not any(bad)  # any text is a category: at least an unseen one
    known = {"mill": 1.0, "3": 0.0, "3.0": 0.0, " true ": 2.0, "crane": 3.0, "NA": -1.0, "": -1.0, None: -1.0}
    assert codes == [known[value] for value in values]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_formatted_numbers_parse_as_the_same_numbers(values: list[float]) -> None:
    texts = parsers_of.number_texts(np.array(values))
    assert parsers_of.numbers(texts).values.tolist() == values
    assert not texts.str.ends_with(".0").any()


@given(st.lists(MOMENTS.map(lambda moment: moment.replace(microsecond=0)), min_size=1))
def test_formatted_dates_parse_as_the_same_dates(values: list[dt.datetime]) -> None:
    seconds = [moment.replace(tzinfo=dt.UTC).timestamp() for moment in values]
    assert parsers_of.dates(parsers_of.date_texts(np.array(seconds))).values.tolist() == seconds


def test_seconds_outside_of_the_calendar_are_formatted_as_numbers() -> None:
    assert parsers_of.date_texts(np.array([0.0, 1e18, np.nan])).to_list() == ["1970-01-01 00:00:00", "1e+18", "NaN"]
