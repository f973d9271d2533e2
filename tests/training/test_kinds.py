"""Kinds are inferred from the whole table, or named by the user."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.cells import missing_words
from detector.columns import Column
from detector.errors import SettingError
from training.kinds import ColumnOptions, infer, parse_date_format

ROWS = 200
RANDOM = np.random.default_rng(0)


LEFT_OUT = ": every new value will look unusual; --numeric keeps it"


def kind_or_reason(cells: Any, missing: tuple[str, ...] = (), **options: Any) -> str:  # noqa: ANN401 - columns of any type
    """Return a column's kind, or why it is ignored, in a table with another column."""
    series = cells.alias("c") if isinstance(cells, pl.Series) else pl.Series("c", cells)
    frame = pl.DataFrame([series, pl.Series("other", RANDOM.normal(size=len(series)))])
    kinds = infer(frame, ColumnOptions(**options), missing_words(missing))
    found: dict[str, str] = {column.name: column.kind for column in kinds.columns}
    found |= {one.name: one.reason for one in kinds.ignored}
    assert sorted(found) == ["c", "other"]
    return found["c"]


def repeated(*texts: object) -> list[object]:
    return [*texts] * (ROWS // len(texts))


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (repeated("1.5", "2", "", "-3e2"), "number"),
        (repeated(0, 1), "number"),
        (repeated("0", "1"), "number"),
        (repeated("1", "inf", "nan", "2.5"), "number"),
        ([True, False, None, True] * 50, "boolean"),
        (repeated("yes", "No"), "boolean"),
        (repeated("t", "F", "NA", "true"), "boolean"),
        (repeated("yes", "no", "1", "maybe"), "category"),
        (repeated("a", "b"), "category"),
        (repeated("1", "b"), "category"),
        (repeated("2026-01-31", "2026-02-01 10:00"), "date"),
        (repeated("2026-01-31T10:00:00Z", "", "2026-02-01T10:00:00+02:00", "NA"), "date"),
        (repeated("31.01.2026", "01.02.2026"), "date"),
        (repeated(dt.date(2026, 1, 1), None), "date"),
        (repeated(dt.datetime(2026, 1, 1, tzinfo=dt.UTC), None), "date"),
        (repeated(dt.time(1), dt.time(2)), "category"),
        (repeated(dt.timedelta(1), dt.timedelta(2)), "category"),
        (repeated([1], [2]), "category"),
        (pl.Series(repeated("3", "4"), dtype=pl.Categorical), "number"),
        (repeated("", "NA", "null", None), "all its cells are missing"),
        (pl.Series([None] * ROWS), "all its cells are missing"),
        (pl.Series([None] * ROWS, dtype=pl.Float64), "holds no number at all"),
        (repeated(float("inf"), float("nan")), "holds no number at all"),
        ([f"id-{n}" for n in range(ROWS)], "looks like an identifier: 200 different texts in 200 rows"),
        ([*range(1, ROWS + 1)], f"counts the rows one by one{LEFT_OUT}"),
        ([str(n) for n in range(ROWS)], f"counts the rows one by one{LEFT_OUT}"),
        ([n + 0.5 for n in range(ROWS)], f"only rises{LEFT_OUT}"),
        ([f"{1e6 - n * 2:,.0f}" for n in range(ROWS)], f"only falls{LEFT_OUT}"),
        ([n // 3 for n in range(ROWS)], f"only rises{LEFT_OUT}"),
        ([0] * 100 + [1] * 100, "number"),
        ([(n * 77) % 457 for n in range(ROWS)], f"never repeats a value, like an identifier{LEFT_OUT}"),
        (
            [10_000_000 + (n * 1_234_577) % 40_000_003 for n in range(ROWS)],
            f"never repeats a value, like an identifier{LEFT_OUT}",
        ),
        ([(n * 1_234_577) % 40_000_003 for n in range(ROWS)], "number"),
        ([((n * 77) % 457) / 10 for n in range(ROWS)], "number"),
        (
            [1_769_884_200 + 60 * n for n in range(ROWS)],
            f"only rises{LEFT_OUT}, --date reads it as dates (seconds since 1970)",
        ),
    ],
)
def test_kinds_are_inferred_from_all_cells(cells: Any, kind: str) -> None:  # noqa: ANN401
    assert kind_or_reason(cells) == kind


def test_the_order_of_rows_does_not_matter() -> None:
    assert kind_or_reason(["1"] * 300 + ["a"] * 300) == kind_or_reason(["a"] * 300 + ["1"] * 300) == "category"


def column(cells: list[Any], **options: Any) -> Column:  # noqa: ANN401
    """Return the only column of a table."""
    (found,) = infer(pl.DataFrame({"c": cells}), ColumnOptions(**options), missing_words()).columns
    return found


def numbers(form: str = "{}", seed: int = 0) -> list[str]:
    return [form.format(number) for number in np.random.default_rng(seed).integers(1, 5000, ROWS)]


@pytest.mark.parametrize("text", ["-", "?", ".", "#N/A", "#DIV/0!", "\\N", "<NA>"])
def test_placeholders_are_missing_numbers_and_noted(text: str) -> None:
    found = column([text if n % 10 == 0 else number for n, number in enumerate(numbers())])
    assert (found.kind, found.note) == ("number", f"20 cells with {text!r} read as missing")
    assert column(repeated("yes", text, "no", "no")).kind == "boolean"
    assert column(repeated("a", text, "b", "c")).kind == "category"
    assert column(repeated("2026-01-31", text, "2026-02-01", "")).kind == "date"
    assert kind_or_reason(repeated(text)).startswith(f"holds only {text!r}, which mean no value")


@pytest.mark.parametrize(
    ("form", "unit", "thousands", "decimal"),
    [
        ("{}%", "%", "", "."),
        ("{} kg", "kg", "", "."),
        ("{}.5 \u00b0C", "\u00b0C", "", "."),
        ("{} km/h", "km/h", "", "."),
        ("{} m\u00b2", "m\u00b2", "", "."),
        ("{} m3", "m3", "", "."),
        ("${:,}", "$", ",", "."),
        ("\u20ac {}.25", "\u20ac", "", "."),
        ("{} EUR", "EUR", "", "."),
        ("CHF {}", "CHF", "", "."),
        ("-{}%", "%", "", "."),
        ("{:,}", "", ",", "."),
        ("{:,}.75", "", ",", "."),
    ],
)
def test_units_and_thousands_are_found(form: str, unit: str, thousands: str, decimal: str) -> None:
    found = column(numbers(form))
    assert (found.kind, found.unit, found.thousands, found.decimal) == ("number", unit, thousands, decimal)


@pytest.mark.parametrize("separator", [" ", "\u00a0", "\u202f", "'", "\u2019"])
def test_other_separators_between_thousands(separator: str) -> None:
    found = column([text.replace(",", separator) for text in numbers("{:,}")])
    assert (found.kind, found.thousands) == ("number", "'" if separator in "'\u2019" else " ")


def test_points_between_thousands_need_a_proof() -> None:
    small = [text.replace(",", ".") for text in numbers("{:,}")]
    assert column(small).thousands == ""
    assert (column(["1.234.567", *small]).thousands, column(["1.234.567", *small]).decimal) == (".", ",")
    assert (column(small, decimal_comma=True).thousands, column(small, decimal_comma=True).decimal) == (".", ",")
    assert kind_or_reason([f"{number}.5" for number in numbers()], decimal_comma=True) != "number"  # never a decimal point


def test_decimal_commas_that_are_no_thousands() -> None:
    advice = "--decimal-comma reads them as numbers, --category keeps the texts"
    assert kind_or_reason(numbers("0,{:04}")).endswith(advice)
    assert kind_or_reason([text.replace(",", "x").replace(".", ",").replace("x", ".") for text in numbers("{:,}.25")]).endswith(
        advice
    )


@pytest.mark.parametrize("form", ["pump-{}", "T{}", "v{}", "A{}B"])
def test_names_with_numbers_are_no_units(form: str) -> None:
    assert kind_or_reason([form.format(n % 7) for n in range(ROWS)]) == "category"


def test_units_that_differ_are_noted() -> None:
    found = column([f"{n % 7} {'kg' if n % 2 else 'lb'}" for n in range(ROWS)])
    assert found.kind == "category"
    assert "numbers with different symbols" in found.note
    assert "--numeric c reads those in the most frequent unit" in found.note
    assert column([f"{n % 7} {'kg' if n % 3 else 'lb'}" for n in range(ROWS)], numeric=("c",)).unit == "kg"


def days(form: str, first: str = "2026-01-12", count: int = ROWS, hours: int = 12) -> list[str]:
    start = dt.datetime.fromisoformat(first)
    return [(start + dt.timedelta(hours=hours * n)).strftime(form) for n in range(count)]


@pytest.mark.parametrize(
    ("form", "date_format"),
    [
        ("%d/%m/%y %H:%M", "%d/%m/%y"),
        ("%d/%m/%y", "%d/%m/%y"),
        ("%m/%d/%y", "%m/%d/%y"),
        ("%d.%m.%y", "%d.%m.%y"),
        ("%d.%m.%y %H:%M:%S", "%d.%m.%y"),
        ("%y-%m-%d", "%y-%m-%d"),
        ("%d-%m-%y %H:%M", "%d-%m-%y"),
        ("%d/%m/%Y %H:%M", "%d/%m/%Y"),
        ("%m/%d/%Y %I:%M %p", "%m/%d/%Y"),
        ("%d-%m-%Y", "%d-%m-%Y"),
        ("%d %b %Y", "%d %B %Y"),
        ("%d-%b-%y", "%d-%B-%y"),
        ("%B %d, %Y %H:%M", "%B %d, %Y"),
        ("%d.%m.%Y", ""),
        ("%Y/%m/%d %H:%M", ""),
        ("%Y-%m-%dT%H:%M:%SZ", ""),
    ],
)
def test_orders_of_day_month_and_year_that_the_column_decides(form: str, date_format: str) -> None:
    found = column(days(form))
    assert (found.kind, found.date_format) == ("date", date_format)


@pytest.mark.parametrize(
    ("cells", "choices"),
    [
        (days("%d/%m/%Y", "2026-01-01", 48, 6), "--date-format c=%d/%m/%Y or --date-format c=%m/%d/%Y"),
        (days("%d/%m/%y", "2026-01-01", 48, 6), "--date-format c=%d/%m/%y or"),
        (days("%y-%m-%d", "2026-01-13", 40, 2), "--date-format c=%d-%m-%y or --date-format c=%y-%m-%d"),
        ([f"01-{month:02}-{year}" for year in range(20, 25) for month in range(1, 13)], "--date-format c=%d-%m-%y or"),
    ],
)
def test_dates_in_doubt_are_left_out_with_the_option_that_reads_them(cells: list[str], choices: str) -> None:
    reason = kind_or_reason(cells)
    assert reason.startswith("looks like dates, but day, month and year of ")
    assert choices in reason
    with pytest.raises(SettingError, match="--date c: day, month and year of"):
        kind_or_reason(cells, date=("c",))
    with pytest.raises(SettingError, match="--time c: day, month and year of"):
        kind_or_reason(cells, time="c")
    given = choices.split()[1]
    assert column(cells, date_format=(given,)).date_format == given.removeprefix("c=")
    assert column(cells, date_format=(given.removeprefix("c="),)).date_format == given.removeprefix("c=")


@pytest.mark.parametrize(
    ("number_of", "date_format"),
    [
        (lambda moment: moment.timestamp(), "s"),
        (lambda moment: int(moment.timestamp() * 1e3), "ms"),
        (lambda moment: int(moment.timestamp()) * 10**6, "us"),
        (lambda moment: int(moment.timestamp()) * 10**9, "ns"),
        (lambda moment: moment.timestamp() / 86_400 + 25_569, "serial"),
        (lambda moment: int(moment.strftime("%Y%m%d")), "%Y%m%d"),
        (lambda moment: int(moment.strftime("%Y%m%d%H%M")), "%Y%m%d%H%M"),
    ],
)
def test_numbers_named_as_dates_have_one_unit(number_of: Any, date_format: str) -> None:  # noqa: ANN401
    start = dt.datetime(2026, 1, 12, 6, tzinfo=dt.UTC)
    values = [number_of(start + dt.timedelta(hours=7 * n)) for n in range(50)]
    for cells in (values, list(map(str, values))):
        assert column(cells, date=("c",)).date_format == date_format
    with pytest.raises(SettingError, match="is not a date in a format or unit that all cells of the column share"):
        column([*values, *range(50)], date=("c",))


def test_patterns_name_formats_of_dates() -> None:
    assert parse_date_format("dd/mm/yy hh:mm") == "%d/%m/%y %H:%M"
    assert parse_date_format("MM/DD/YYYY") == "%m/%d/%Y"
    assert parse_date_format("ms") == "ms"
    with pytest.raises(SettingError, match="--date-format tomorrow is not a date format"):
        parse_date_format("tomorrow")


def test_growing_numbers_are_kept_on_demand_with_a_note() -> None:
    found = column([100_000 + 3 * n for n in range(ROWS)], numeric=("c",))
    assert found.note == "only rises: every new value will look unusual"


@settings(max_examples=25)  # each takes two inferences of a column
@given(st.integers(20, 400), st.integers(0, 12), st.randoms(use_true_random=False))
def test_a_few_unreadable_texts_do_not_change_the_kind(rows: int, unreadable: int, random: Any) -> None:  # noqa: ANN401
    for good, kind in (("1.5", "number"), ("2026-01-31", "date")):
        cells = [good] * rows + ["gone"] * unreadable
        random.shuffle(cells)
        assert kind_or_reason(cells) == (kind if unreadable <= max(1, 0.01 * (rows + unreadable)) else "category")


def test_with_few_rows_there_are_no_unreadable_texts_identifiers_or_counters() -> None:
    assert kind_or_reason(["1"] * 18 + ["gone"]) == "category"
    assert kind_or_reason([f"id-{n}" for n in range(19)]) == "category"
    assert kind_or_reason([*range(19)]) == "number"
    assert kind_or_reason([*range(20)]).startswith("counts the rows")


def test_nearly_all_values_of_an_identifier_are_distinct() -> None:
    some = [f"id-{n % 180}" for n in range(ROWS)]
    assert kind_or_reason(some) == "category"
    assert kind_or_reason([f"id-{n % 181}" for n in range(ROWS)]).startswith("looks like an identifier: 181")
    assert kind_or_reason([f"id-{n}" for n in range(ROWS)], category=("c",)) == "category"


def test_words_for_missing_cells_are_not_values() -> None:
    assert kind_or_reason(repeated("1.5", "unknown"), missing=("Unknown",)) == "number"
    assert kind_or_reason(repeated("-999", "-999.0"), missing=("-999",)) == "holds no number at all"
    assert kind_or_reason(repeated("?", "?"), missing=("?",)) == "all its cells are missing"


@pytest.mark.parametrize(
    ("cells", "options", "kind"),
    [
        (repeated("1", "2"), {"category": ("c",)}, "category"),
        (repeated(1.0, 2.0), {"category": ("c",)}, "category"),
        (repeated("a", "b"), {"numeric": ("c",)}, "holds no number at all"),
        (repeated("a", "1", "b", "c"), {"numeric": ("c",)}, "number"),
        ([*range(ROWS)], {"numeric": ("c",)}, "number"),
        (repeated(1769884200, 1769884300), {"date": ("c",)}, "date"),
        (repeated("1", "2"), {"ignore": ("c",)}, "ignored by option"),
        (repeated("2026-01-01", "2026-01-02"), {"time": "c"}, "orders the rows; --date makes it a feature too"),
        (repeated("2026-01-01", "2026-01-02"), {"time": "c", "date": ("c",)}, "date"),
    ],
)
def test_the_options_of_the_user_win(cells: Any, options: dict[str, Any], kind: str) -> None:  # noqa: ANN401
    assert kind_or_reason(cells, **options) == kind


@pytest.mark.parametrize("flag", ["category", "numeric", "date", "ignore", "time"])
def test_an_unknown_column_is_an_error_with_the_nearest_name(flag: str) -> None:
    frame = pl.DataFrame({"temperature": [1.5], "Pressure": [2.5]})
    options = ColumnOptions(**{flag: "temprature" if flag == "time" else ("temprature",)})  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=r"no column 'temprature' \(near: 'temperature'\); it has 'temperature', 'Pressure'"):
        infer(frame, options, missing_words())


@pytest.mark.parametrize("flags", [("category", "numeric"), ("date", "ignore"), ("numeric", "ignore"), ("category", "date")])
def test_contradicting_options_are_an_error(flags: tuple[str, str]) -> None:
    with pytest.raises(SettingError, match="'c' is named by more than one"):
        kind_or_reason(repeated("1", "2"), **dict.fromkeys(flags, ("c",)))


def test_the_error_without_columns_has_a_reason_for_each() -> None:
    frame = pl.DataFrame({"a": [None, None], "b": ["1", "2"]})
    with pytest.raises(SettingError, match=r"no column is left .* a: all its cells are missing; b: ignored by option"):
        infer(frame, ColumnOptions(ignore=("b",)), missing_words())


def test_mostly_numbers_are_ignored_with_a_hint() -> None:
    cells = [str(n * 37 % 101 * 1.37) if n % 40 else "gone" for n in range(1, ROWS + 1)]
    hint = "--numeric c keeps it and rejects these, --missing names a text that means none"
    assert column(cells).note == f"is a category; 195 of 200 texts are numbers, but not 'gone': {hint}"
    assert kind_or_reason(cells, missing=("gone",)) == kind_or_reason(cells, numeric=("c",)) == "number"
    unique = [str(n * 1.37) if n % 40 else f"gone {n}" for n in range(1, ROWS + 1)]
    assert kind_or_reason(unique).startswith(
        "looks like an identifier: 200 different texts in 200 rows, 195 of 200 texts are numbers"
    )


def test_decimal_commas_are_ignored_with_a_hint() -> None:
    cells = [f"{n % 7},5" for n in range(ROWS)]
    assert "most are like 0,5: --decimal-comma reads them as numbers" in kind_or_reason(cells)
    assert kind_or_reason(cells, category=("c",)) == "category"


def test_progress_is_reported_by_column() -> None:
    frame, seen = pl.DataFrame({"a": [1.5, 2.5], "b": ["x", "y"], "c": [1, 2]}), []
    infer(frame, ColumnOptions(category=("c",)), missing_words(), lambda done, columns: seen.append((done, columns)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
