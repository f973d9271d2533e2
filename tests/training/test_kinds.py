"""Kinds are inferred from the whole table, or named by the user."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.cells import missing_words
from detector.errors import SettingError
from training.kinds import ColumnOptions, infer

ROWS = 200
RANDOM = np.random.default_rng(0)


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
        ([*range(1, ROWS + 1)], "counts the rows one by one; --numeric keeps it"),
        ([str(n) for n in range(ROWS)], "counts the rows one by one; --numeric keeps it"),
        ([n + 0.5 for n in range(ROWS)], "number"),
        ([n * 2 for n in range(ROWS)], "number"),
    ],
)
def test_kinds_are_inferred_from_all_cells(cells: Any, kind: str) -> None:  # noqa: ANN401
    assert kind_or_reason(cells) == kind


def test_the_order_of_rows_does_not_matter() -> None:
    assert kind_or_reason(["1"] * 300 + ["a"] * 300) == kind_or_reason(["a"] * 300 + ["1"] * 300) == "category"


@given(st.integers(20, 400), st.integers(0, 12), st.randoms(use_true_random=False))
def test_a_few_unreadable_texts_do_not_change_the_kind(rows: int, unreadable: int, random: Any) -> None:  # noqa: ANN401
    for good, kind in (("1.5", "number"), ("2026-01-31", "date")):
        cells = [good] * rows + ["?"] * unreadable
        random.shuffle(cells)
        assert kind_or_reason(cells) == (kind if unreadable <= max(1, 0.01 * (rows + unreadable)) else "category")


def test_with_few_rows_there_are_no_unreadable_texts_identifiers_or_counters() -> None:
    assert kind_or_reason(["1"] * 18 + ["?"]) == "category"
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
    cells = [str(n * 1.37) if n % 40 else "?" for n in range(ROWS)]
    assert kind_or_reason(cells).endswith("195 of them numbers: --numeric keeps it, --missing names a text that means none")
    assert kind_or_reason(cells, missing=("?",)) == kind_or_reason(cells, numeric=("c",)) == "number"


def test_decimal_commas_are_ignored_with_a_hint() -> None:
    cells = [f"{n % 7},5" for n in range(ROWS)]
    assert "most are like 0,5: --decimal-comma reads them as numbers" in kind_or_reason(cells)
    assert kind_or_reason(cells, category=("c",)) == "category"
