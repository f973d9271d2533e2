"""Delimited text: any table is read cell for cell, with its line numbers."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from detector.errors import ResiduumError, TableError
from detector.files import ReadOptions, open_source
from tests.detector.files.reading import read_bytes, written

Rows = Sequence[tuple[str, ...]]


HEADER = ["a", "b", "c"]


# Every character that has a meaning to some reader, and some that have none.
TEXT = st.text(
    st.sampled_from(list("ab1.,;\t|\"'\n\r \\#é\ufeff\x00\x1c\u2028x^")) | st.characters(exclude_categories=["Cs"]), max_size=6
)


ROWS = st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=12)


BLOCK = st.sampled_from([1, 7, 64, 4 << 20])


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("delimited")


def lines_before(rows: Rows) -> list[int]:
    """The physical line on which each row starts, the header being line 1."""
    line, starts = 2, []
    for row in rows:
        starts.append(line)
        line += 1 + sum(cell.count("\n") for cell in row)
    return starts


@given(
    ROWS, BLOCK, st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"]), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
)
@example([("x^", "1", "\ufeff"), ("\ufeffx", "", ""), ("", "", "")], 7, ",", "\n", csv.QUOTE_MINIMAL)
def test_any_table_comes_back_cell_for_cell_with_its_lines(
    folder: Path, rows: Rows, block: int, separator: str, end: str, quoting: int
) -> None:
    data = written([HEADER, *rows], delimiter=separator, lineterminator=end, quoting=quoting)
    # The writer leaves a bare carriage return unquoted where the line ends in LF; that is no CSV.
    assume(end == "\r\n" or quoting == csv.QUOTE_ALL or not any("\r" in cell for row in rows for cell in row))
    table = read_bytes(folder, data, block=block)
    assert table.cells == [tuple(cell or None for cell in row) for row in rows]
    assert table.rows == lines_before(rows)
    assert not table.rejects
    assert not table.blank


@given(st.binary(max_size=200), BLOCK)
@example(b'a,b\n"\n', 1)
def test_any_bytes_raise_no_other_error_than_ours(folder: Path, data: bytes, block: int) -> None:
    with contextlib.suppress(ResiduumError):
        read_bytes(folder, data, block=block, numbers=("a", "b"))


def test_columns_come_in_the_wanted_order_and_no_others(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, b"a,b,c\n1,2,3\n4,5,\n", wanted=["c", "a"], numbers=["c", "b"])
    assert table.frames[0].schema == {"c": pl.Float64, "a": pl.String}
    assert table.cells == [(3.0, "1"), (None, "4")]


def test_no_wanted_column_still_counts_the_rows(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, b"a,b\n1,2\n3,4\n", wanted=[]).rows == [2, 3]


@pytest.mark.parametrize("numbers", [(), ("a",)])
@pytest.mark.parametrize(("written_so", "point"), [("1,5", "1.5"), (" -,5", " -.5"), ("2,", "2."), ("1,5e-3", "1.5e-3")])
def test_decimal_commas(tmp_path: Path, numbers: tuple[str, ...], written_so: str, point: str) -> None:
    options = ReadOptions(decimal_comma=True)
    table = read_bytes(tmp_path, f"a;b\n{written_so};x,y\n".encode(), numbers=numbers, options=options)
    assert table.cells == [(float(point) if numbers else written_so, "x,y")]
    assert read_bytes(tmp_path, b"a;b\n1.5;x\n", numbers=numbers, options=options).cells == [("1.5", "x")]  # no decimal point


def test_a_missing_column_is_an_error_with_similar_names(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"lacks the column 'pressur' .near: 'pressure'."):
        read_bytes(tmp_path, b"pressure,flow\n1,2\n", wanted=["pressur"])


def test_the_position_ends_at_the_size(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a\n1\n2\n")
    with open_source(str(path)) as source:
        assert source.size == 6
        list(source.blocks(["a"]))
        assert source.position == 6
