"""The lenient reader rejects bad records one by one and keeps the records around them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from detector.files import blocks, record
from detector.files.lenient_reader import ENCODING
from detector.files.record import read_field
from tests.detector.files.reading import read_bytes, written

Rows = Sequence[tuple[str, ...]]


# Every character that has a meaning to some reader, and some that have none.
TEXT = st.text(
    st.sampled_from(list("ab1.,;\t|\"'\n\r \\#é\ufeff\x00\x1c\u2028x^")) | st.characters(exclude_categories=["Cs"]), max_size=6
)


ROWS = st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=12)


BLOCK = st.sampled_from([1, 7, 64, 4 << 20])


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("delimited")


@given(ROWS.filter(lambda rows: len(rows) > 0), st.data(), BLOCK)
def test_a_corrupt_line_costs_only_that_line(folder: Path, rows: Rows, data: st.DataObject, block: int) -> None:
    plain = [tuple(cell.translate(str.maketrans("", "", '"\r\n')) for cell in row) for row in rows]
    spoilt = data.draw(st.integers(0, len(rows) - 1))
    corruption = data.draw(st.sampled_from([b"1,2\n", b"1,2,3,4\n", b'1,2,"3\n', b'"1,2,3\n', b"1,\xff,3\n", b'1,"2"2,3\n']))
    lines = [written([row], lineterminator="\n") for row in plain]
    lines[spoilt] = corruption
    table = read_bytes(folder, b"a,b,c\n" + b"".join(lines), block=block)
    kept = [place for place in range(len(rows)) if place != spoilt]
    assume(b'"' not in b"".join(lines[spoilt + 1 :]))  # which might close the stray quote, and properly
    assert table.rejected == [spoilt + 2]
    assert table.rows == [place + 2 for place in kept]
    assert table.cells == [tuple(cell or None for cell in plain[place]) for place in kept]


@pytest.mark.parametrize(
    ("line", "column", "found", "expected"),
    [
        (b"1,2", "", "2 fields", "3 fields"),
        (b"1,2,3,4", "", "4 fields", "3 fields"),
        (b'1,"2,3', "b", '"2,3', "a quote that closes"),
        (b'1,"2"x,3', "b", '"2"x,3', "a separator after the closing quote"),
        (b"1,caf\xe9,3", "b", "caf\\xe9", ENCODING),
        (b'1,"x\ny",3,4', "", "4 fields", "3 fields"),
    ],
)
def test_a_reject_has_line_column_found_and_expected(tmp_path: Path, line: bytes, column: str, found: str, expected: str) -> None:
    table = read_bytes(tmp_path, b"a,b,c\n1,2,3\n" + line + b"\n7,8,9\n")
    reject = table.rejects[0]
    assert (reject.row, reject.column, reject.expected) == (3, column, expected)
    assert reject.found.startswith(found)
    assert reject.file.endswith("table.csv")
    assert ("7", "8", "9") in table.cells


def test_a_multiline_record_that_is_not_utf8_is_rejected_as_a_whole(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, b'a,b,c\n1,"x\n4,5,6\n\xff",3\n7,8,9\n')
    assert (table.rejected, table.rows) == ([2], [5])


def test_short_and_long_lines_are_rejected_for_unwanted_columns_too(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, b"a,b,c\n1,2,3\n1,2\n1,2,3,4\n", wanted=["a"])
    assert table.rows == [2]
    assert table.rejected == [3, 4]


def test_a_quote_inside_an_unquoted_cell_is_text(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, b'a,b\n5" pipe,1\n6",2\n')
    assert table.cells == [('5" pipe', "1"), ('6"', "2")]


def test_blank_lines_are_counted_and_line_numbers_stay_right(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, b"\n  \na,b\n1,2\n\n \r\n3,4\n\n")
    assert (table.rows, table.blank) == ([4, 7], 3)


def test_in_one_column_a_blank_line_is_blank_and_an_empty_cell_is_a_row(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, b'a\n1\n\n""\n  \n2', numbers=["a"])
    assert (table.rows, table.blank) == ([2, 4, 5, 6], 1)
    assert table.cells == [("1",), (None,), ("  ",), ("2",)]


def test_an_unclosed_quote_costs_one_line_and_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MAX_RECORD_BYTES", 1000)
    table = read_bytes(tmp_path, b'a,b\n1,2\n"3,4\n' + b"5,6\n" * 2000, block=256)
    assert table.rejected == [3]
    assert len(table.cells) == 2001
    assert table.rows[-1] == 2003
    assert len(table.frames) > 10  # it did not wait for the end of the file


def test_many_unclosed_quotes_are_read_in_linear_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, calls = 1000, []

    def counted(text: str, start: int, separator: str, place: int) -> tuple[str, int]:
        calls.append(start)
        return read_field(text, start, separator, place)

    monkeypatch.setattr(record, "read_field", counted)
    table = read_bytes(tmp_path, b"a,b\n" + b'x","\n' * lines)
    assert len(table.rejects) > lines - 5
    assert len(calls) < 5 * lines
