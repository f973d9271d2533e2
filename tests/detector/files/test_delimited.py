import contextlib
import csv
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from detector.errors import ResiduumError, TableError
from detector.files import ReadOptions, open_source, record
from detector.files import blocks as cutting
from detector.files.record import read_field
from tests.detector.files.reading import read, read_bytes, written

Rows = Sequence[tuple[str, ...]]

HEADER = ["a", "b", "c"]
# Every character that has a meaning to some reader, and some that have none.
TEXT = st.text(
    st.sampled_from(list("ab1.,;\t|\"'\n\r \\#é\ufeff\x00\x1c\u2028x^")) | st.characters(exclude_categories=["Cs"]), max_size=6
)
ROWS = st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=12)
NUMBER = st.sampled_from(["", "1", " 1", "+1.5", "-0", "1e3", ".5", "5.", "NA", "nan", "1e400", "inf", "x", "1 ", "-999", "1,5"])
OPTIONS = st.builds(ReadOptions, missing=st.just(("-999",)), decimal_comma=st.booleans())
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
def test_no_bytes_raise_anything_but_an_error_of_ours(folder: Path, data: bytes, block: int) -> None:
    with contextlib.suppress(ResiduumError):
        read_bytes(folder, data, block=block, numbers=("a", "b"))


PIECES = [b"1", b"a", b",", b",", b"\n", b"\r\n", b'"', b'""', b"\xff", b"\x00", b" ", b"\xef\xbb\xbf", b"x^"]
GOOD = [b"1,2\n", b"1,2\n", b'"x,y",2\r\n', b'"a""b",\n', b",\n"]
BAD = [b"1\n", b"1,2,3\n", b"1,2,3,4\n", b"\n", b"  \n", b'5" x,"\n', b',"p\nq"\n', b"1,\xff\n", b"\r,1\n"]
TABLES = st.tuples(st.lists(st.sampled_from(GOOD)), st.lists(st.sampled_from(BAD), max_size=2), st.lists(st.sampled_from(GOOD)))
MESS = st.lists(st.sampled_from(PIECES)).map(b"".join) | TABLES.map(
    lambda parts: b"".join(part for lines in parts for part in lines)
)
SOME = st.sampled_from([["a", "b"], ["b", "a"], ["a"], ["b"], []])


@given(st.sampled_from([b"a,b\n", b"a,b,c\n"]), MESS, BLOCK, SOME)
def test_fast_and_slow_agree_on_any_mess(folder: Path, header: bytes, data: bytes, block: int, wanted: list[str]) -> None:
    fast = read_bytes(folder, header + data, block=block, wanted=wanted)
    slow = read_bytes(folder, header + data, slow=True, wanted=wanted)
    assert fast[:5] == slow[:5]


@given(MESS, BLOCK)
def test_fast_and_slow_agree_in_one_column(folder: Path, data: bytes, block: int) -> None:
    data = data.replace(b",", b"")
    assert read_bytes(folder, b"a\n" + data, block=block)[:5] == read_bytes(folder, b"a\n" + data, slow=True)[:5]


@given(st.lists(st.tuples(NUMBER, NUMBER, NUMBER), min_size=1, max_size=8), OPTIONS, st.sampled_from(",;"))
def test_numbers_read_fast_are_the_numbers_that_the_text_spells(
    folder: Path, rows: Rows, options: ReadOptions, separator: str
) -> None:
    data = written([HEADER, *rows], delimiter=separator)
    typed = read_bytes(folder, data, numbers=HEADER, options=options)
    text = read_bytes(folder, data, slow=True, options=options)
    assert typed.rows == text.rows
    for frame in typed.frames:
        for name in HEADER:
            if frame[name].dtype == pl.Float64:
                place = HEADER.index(name)
                spelt = [row[place] or "NA" for row in text.cells]
                expected = [None if cell.lower() in {"na", "nan"} else float(cell) for cell in spelt]
                assert frame[name].fill_nan(None).to_list() == expected


@given(ROWS.filter(lambda rows: len(rows) > 0), st.data(), BLOCK)
def test_one_corrupt_line_costs_that_line_alone(folder: Path, rows: Rows, data: st.DataObject, block: int) -> None:
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
        (b"1,caf\xe9,3", "b", "caf\\xe9", "UTF-8"),
        (b'1,"x\ny",3,4', "", "4 fields", "3 fields"),
    ],
)
def test_a_reject_says_where_and_what(tmp_path: Path, line: bytes, column: str, found: str, expected: str) -> None:
    table = read_bytes(tmp_path, b"a,b,c\n1,2,3\n" + line + b"\n7,8,9\n")
    reject = table.rejects[0]
    assert (reject.row, reject.column, reject.expected) == (3, column, expected)
    assert reject.found.startswith(found)
    assert reject.file.endswith("table.csv")
    assert ("7", "8", "9") in table.cells


def test_a_record_of_many_lines_that_is_no_utf8_is_rejected_whole(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, b'a,b,c\n1,"x\n4,5,6\n\xff",3\n7,8,9\n')
    assert (table.rejected, table.rows) == ([2], [5])


def test_columns_come_in_the_wanted_order_and_no_others(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, b"a,b,c\n1,2,3\n4,5,\n", wanted=["c", "a"], numbers=["c", "b"])
    assert table.frames[0].schema == {"c": pl.Float64, "a": pl.String}
    assert table.cells == [(3.0, "1"), (None, "4")]


def test_no_wanted_column_still_counts_the_rows(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, b"a,b\n1,2\n3,4\n", wanted=[]).rows == [2, 3]


def test_short_and_long_lines_are_found_among_columns_that_nobody_wants(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, b"a,b,c\n1,2,3\n1,2\n1,2,3,4\n", wanted=["a"])
    assert table.rows == [2]
    assert table.rejected == [3, 4]


def test_quotes_a_byte_order_mark_and_crlf_stay_on_the_fast_path(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, b'\xef\xbb\xbf"a b","b"\r\n"1,5","2"\r\n"say ""hi""",\r\n', numbers=["b"])
    assert table.columns == ("a b", "b")
    assert table.frames[0].schema["b"] == pl.Float64
    assert table.cells == [("1,5", 2.0), ('say "hi"', None)]


def test_a_quote_inside_an_unquoted_cell_is_text(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, b'a,b\n5" pipe,1\n6",2\n')
    assert table.cells == [('5" pipe', "1"), ('6"', "2")]


def test_blank_lines_are_counted_and_lines_stay_true(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, b"\n  \na,b\n1,2\n\n \r\n3,4\n\n")
    assert (table.rows, table.blank) == ([4, 7], 3)


def test_in_one_column_a_blank_line_is_blank_and_an_empty_cell_is_a_row(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, b'a\n1\n\n""\n  \n2', numbers=["a"])
    assert (table.rows, table.blank) == ([2, 4, 5, 6], 1)
    assert table.cells == [("1",), (None,), ("  ",), ("2",)]


def test_a_bad_cell_turns_its_block_to_text_and_only_that(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, b"a\n" + b"1\n" * 50 + b"x\n" + b"1\n" * 50, block=64, numbers=["a"])
    assert {frame["a"].dtype for frame in table.frames} == {pl.Float64(), pl.String()}
    assert len(table.cells) == 101


def test_a_word_for_a_missing_number_soon_reads_as_fast_as_a_number(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, b"a,b\n" + b"?,NA\n2,z\n" * 60, block=128, numbers=["a"], options=ReadOptions(missing=("?",)))
    assert [frame["a"].dtype for frame in table.frames[:2]] == [pl.String(), pl.Float64()]
    assert {row[1] for row in table.cells} == {"NA", "z"}  # text stays as it was written


@pytest.mark.parametrize("cell", ["1e400", "-1e400", "inf"])
def test_an_infinity_stays_text_for_the_encoder_to_judge(tmp_path: Path, cell: str) -> None:
    table = read_bytes(tmp_path, f"a\n1\n{cell}\n".encode(), numbers=["a"])
    assert table.cells == [("1",), (cell,)]


@pytest.mark.parametrize("numbers", [(), ("a",)])
@pytest.mark.parametrize(("written_so", "point"), [("1,5", "1.5"), (" -,5", " -.5"), ("2,", "2."), ("1,5e-3", "1.5e-3")])
def test_decimal_commas(tmp_path: Path, numbers: tuple[str, ...], written_so: str, point: str) -> None:
    options = ReadOptions(decimal_comma=True)
    table = read_bytes(tmp_path, f"a;b\n{written_so};x,y\n".encode(), numbers=numbers, options=options)
    assert float(str(table.cells[0][0])) == float(point)
    assert table.cells[0][1] == "x,y"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b;c\n1,2;3\n", ("a", "b;c")),
        ("temp, C\tpressure\n1\t2\n", ("temp, C", "pressure")),
        ("temp, C;pressure\n1;2\n", ("temp, C", "pressure")),
        ('"x;y;z",b\n1,2\n', ("x;y;z", "b")),
        ("a|b\n", ("a", "b")),
        ("alone\n1\n", ("alone",)),
        (" a , b \n1,2\n", ("a", "b")),
        ('"two\nlines",b\n1,2\n', ("two\nlines", "b")),
    ],
)
def test_the_separator_is_found_in_the_header(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    table = read_bytes(tmp_path, text.encode())
    assert table.columns == names
    assert not table.rejects


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"a,,c\n1,2,3\n", "no name for column 2 of 3"),
        (b"a,b,a\n1,2,3\n", r"names 'a' more than once \(columns 1 and 3\)"),
        (b"\xff\xfea\x00,\x00", "UTF-16"),
        (b"\x1f\x8b\x08\x00", "gzip: end its name in .gz"),
        (b"\x28\xb5\x2f\xfd\x00", "zstd: end its name in .zst"),
        (b"PAR1\x15\x00", "is Parquet"),
        (b"PK\x03\x04\x14\x00", "save the table as CSV"),
        (b"caf\xe9,b\n1,2\n", "not UTF-8"),
        (b"a,b\r1,2\r", "carriage returns"),
        (b'a,"b\n1,2\n', "quote in the header"),
        (b'"a"x,b\n1,2\n', "quote in the header"),
    ],
)
def test_a_header_that_cannot_be_used_is_an_error(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_bytes(tmp_path, data)


def test_a_header_alone_is_a_table_without_rows(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, b"a,b").cells == []


def test_a_column_that_is_not_there_is_an_error_that_offers_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"lacks the column 'pressur' .near: 'pressure'."):
        read_bytes(tmp_path, b"pressure,flow\n1,2\n", wanted=["pressur"])


def test_a_quote_that_never_closes_costs_one_line_and_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "MAX_RECORD_BYTES", 1000)
    table = read_bytes(tmp_path, b'a,b\n1,2\n"3,4\n' + b"5,6\n" * 2000, block=256)
    assert table.rejected == [3]
    assert len(table.cells) == 2001
    assert table.rows[-1] == 2003
    assert len(table.frames) > 10  # it did not wait for the end of the file


def test_lines_that_each_seem_to_run_on_are_read_in_linear_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, calls = 1000, []

    def counted(text: str, start: int, separator: str, place: int) -> tuple[str, int]:
        calls.append(start)
        return read_field(text, start, separator, place)

    monkeypatch.setattr(record, "read_field", counted)
    table = read_bytes(tmp_path, b"a,b\n" + b'x","\n' * lines)
    assert len(table.rejects) > lines - 5
    assert len(calls) < 5 * lines


def test_a_line_without_end_is_an_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "MAX_RECORD_BYTES", 1000)
    with pytest.raises(TableError, match="line 3 does not end within"):
        read_bytes(tmp_path, b"a,b\n1,2\n" + b"3" * 5000, block=256)


def test_a_cell_of_many_lines_may_be_longer_than_a_block(tmp_path: Path) -> None:
    text = "line\n" * 100
    table = read_bytes(tmp_path, written([["a", "b"], [text, "1"], ["x", "2"]]), block=64)
    assert table.cells == [(text, "1"), ("x", "2")]
    assert table.rows == [2, 103]


def test_the_position_ends_at_the_size(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a\n1\n2\n")
    with open_source(str(path)) as source:
        assert source.size == 6
        list(source.blocks(["a"]))
        assert source.position == 6


def test_memory_stays_with_the_block_whatever_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n" + b"1.25,x\n" * 200_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "BLOCK_BYTES", 1 << 16)
        table = read(path, numbers=["a"])
    assert max(frame.height for frame in table.frames) < 10_000
    assert len(table.rows) == 200_000
