"""What a column is: inferred from the whole table, or as the user says."""

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


def judge(cells: Any, missing: tuple[str, ...] = (), **wishes: Any) -> str:  # noqa: ANN401 - columns of any type
    """Give a column's kind, or why it is left out; another column keeps it company."""
    series = cells.alias("c") if isinstance(cells, pl.Series) else pl.Series("c", cells)
    frame = pl.DataFrame([series, pl.Series("other", RANDOM.normal(size=len(series)))])
    kinds = infer(frame, ColumnOptions(**wishes), missing_words(missing))
    found: dict[str, str] = {column.name: column.kind for column in kinds.columns}
    found |= {one.name: one.reason for one in kinds.ignored}
    assert sorted(found) == ["c", "other"]
    return found["c"]


def several(*texts: object) -> list[object]:
    return [*texts] * (ROWS // len(texts))


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (several("1.5", "2", "", "-3e2"), "number"),
        (several(0, 1), "number"),
        (several("0", "1"), "number"),
        (several("1", "inf", "nan", "2.5"), "number"),
        ([True, False, None, True] * 50, "boolean"),
        (several("yes", "No"), "boolean"),
        (several("t", "F", "NA", "true"), "boolean"),
        (several("yes", "no", "1", "maybe"), "category"),
        (several("a", "b"), "category"),
        (several("1", "b"), "category"),
        (several("2026-01-31", "2026-02-01 10:00"), "date"),
        (several("2026-01-31T10:00:00Z", "", "2026-02-01T10:00:00+02:00", "NA"), "date"),
        (several("31.01.2026", "01.02.2026"), "date"),
        (several(dt.date(2026, 1, 1), None), "date"),
        (several(dt.datetime(2026, 1, 1, tzinfo=dt.UTC), None), "date"),
        (several(dt.time(1), dt.time(2)), "category"),
        (several(dt.timedelta(1), dt.timedelta(2)), "category"),
        (several([1], [2]), "category"),
        (pl.Series(several("3", "4"), dtype=pl.Categorical), "number"),
        (several("", "NA", "null", None), "all its cells are missing"),
        (pl.Series([None] * ROWS), "all its cells are missing"),
        (pl.Series([None] * ROWS, dtype=pl.Float64), "holds no number at all"),
        (several(float("inf"), float("nan")), "holds no number at all"),
        ([f"id-{n}" for n in range(ROWS)], "looks like an identifier: 200 different texts in 200 rows"),
        ([*range(1, ROWS + 1)], "counts the rows one by one; --numeric keeps it"),
        ([str(n) for n in range(ROWS)], "counts the rows one by one; --numeric keeps it"),
        ([n + 0.5 for n in range(ROWS)], "number"),
        ([n * 2 for n in range(ROWS)], "number"),
    ],
)
def test_kinds_are_inferred_from_all_cells(cells: Any, kind: str) -> None:  # noqa: ANN401
    assert judge(cells) == kind


def test_the_last_row_counts_as_much_as_the_first() -> None:
    assert judge(["1"] * 300 + ["a"] * 300) == judge(["a"] * 300 + ["1"] * 300) == "category"


@given(st.integers(20, 400), st.integers(0, 12), st.randoms(use_true_random=False))
def test_a_few_stray_texts_make_no_number_a_category(rows: int, stray: int, random: Any) -> None:  # noqa: ANN401
    for good, kind in (("1.5", "number"), ("2026-01-31", "date")):
        cells = [good] * rows + ["?"] * stray
        random.shuffle(cells)
        assert judge(cells) == (kind if stray <= max(1, 0.01 * (rows + stray)) else "category")


def test_few_rows_have_no_strays_no_identifiers_and_no_counters() -> None:
    assert judge(["1"] * 18 + ["?"]) == "category"
    assert judge([f"id-{n}" for n in range(19)]) == "category"
    assert judge([*range(19)]) == "number"
    assert judge([*range(20)]).startswith("counts the rows")


def test_an_identifier_has_nearly_all_values_different() -> None:
    some = [f"id-{n % 180}" for n in range(ROWS)]
    assert judge(some) == "category"
    assert judge([f"id-{n % 181}" for n in range(ROWS)]).startswith("looks like an identifier: 181")
    assert judge([f"id-{n}" for n in range(ROWS)], category=("c",)) == "category"


def test_words_for_missing_are_not_values() -> None:
    assert judge(several("1.5", "unknown"), missing=("Unknown",)) == "number"
    assert judge(several("-999", "-999.0"), missing=("-999",)) == "holds no number at all"
    assert judge(several("?", "?"), missing=("?",)) == "all its cells are missing"


@pytest.mark.parametrize(
    ("cells", "wishes", "kind"),
    [
        (several("1", "2"), {"category": ("c",)}, "category"),
        (several(1.0, 2.0), {"category": ("c",)}, "category"),
        (several("a", "b"), {"numeric": ("c",)}, "holds no number at all"),
        (several("a", "1", "b", "c"), {"numeric": ("c",)}, "number"),
        ([*range(ROWS)], {"numeric": ("c",)}, "number"),
        (several(1769884200, 1769884300), {"date": ("c",)}, "date"),
        (several("1", "2"), {"ignore": ("c",)}, "as asked"),
        (several("2026-01-01", "2026-01-02"), {"time": "c"}, "orders the rows; --date makes it a feature too"),
        (several("2026-01-01", "2026-01-02"), {"time": "c", "date": ("c",)}, "date"),
    ],
)
def test_the_user_knows_better(cells: Any, wishes: dict[str, Any], kind: str) -> None:  # noqa: ANN401
    assert judge(cells, **wishes) == kind


@pytest.mark.parametrize("flag", ["category", "numeric", "date", "ignore", "time"])
def test_a_name_that_is_not_there_is_an_error_with_the_nearest(flag: str) -> None:
    frame = pl.DataFrame({"temperature": [1.5], "Pressure": [2.5]})
    wishes = ColumnOptions(**{flag: "temprature" if flag == "time" else ("temprature",)})  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=r"no column 'temprature' \(near: 'temperature'\); it has 'temperature', 'Pressure'"):
        infer(frame, wishes, missing_words())


@pytest.mark.parametrize("flags", [("category", "numeric"), ("date", "ignore"), ("numeric", "ignore"), ("category", "date")])
def test_contradictions_are_refused(flags: tuple[str, str]) -> None:
    with pytest.raises(SettingError, match="'c' is named by more than one"):
        judge(several("1", "2"), **dict.fromkeys(flags, ("c",)))


def test_no_column_left_says_why_for_each() -> None:
    frame = pl.DataFrame({"a": [None, None], "b": ["1", "2"]})
    with pytest.raises(SettingError, match=r"no column is left .* a: all its cells are missing; b: as asked"):
        infer(frame, ColumnOptions(ignore=("b",)), missing_words())


def test_numbers_with_many_strays_are_told_how_to_stay() -> None:
    cells = [str(n * 1.37) if n % 40 else "?" for n in range(ROWS)]
    assert judge(cells).endswith("195 of them numbers: --numeric keeps it, --missing names a text that means none")
    assert judge(cells, missing=("?",)) == judge(cells, numeric=("c",)) == "number"


def test_decimal_commas_are_told_and_never_become_categories() -> None:
    cells = [f"{n % 7},5" for n in range(ROWS)]
    assert "most are like 0,5: --decimal-comma reads them as numbers" in judge(cells)
    assert judge(cells, category=("c",)) == "category"
