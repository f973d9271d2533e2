"""The fast reader agrees with the lenient reader on any block."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.files import ReadOptions
from tests.detector.files.reading import read_bytes, written

Rows = Sequence[tuple[str, ...]]


HEADER = ["a", "b", "c"]


NUMBER = st.sampled_from(["", "1", " 1", "+1.5", "-0", "1e3", ".5", "5.", "NA", "nan", "1e400", "inf", "x", "1 ", "-999", "1,5"])


OPTIONS = st.builds(ReadOptions, missing=st.just(("-999",)), decimal_comma=st.booleans())


BLOCK = st.sampled_from([1, 7, 64, 4 << 20])


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("delimited")


PIECES = [b"1", b"a", b",", b",", b"\n", b"\r\n", b'"', b'""', b"\xff", b"\x00", b" ", b"\xef\xbb\xbf", b"x^"]


GOOD = [b"1,2\n", b"1,2\n", b'"x,y",2\r\n', b'"a""b",\n', b",\n"]


BAD = [b"1\n", b"1,2,3\n", b"1,2,3,4\n", b"\n", b"  \n", b'5" x,"\n', b',"p\nq"\n', b"1,\xff\n", b"\r,1\n"]


TABLES = st.tuples(st.lists(st.sampled_from(GOOD)), st.lists(st.sampled_from(BAD), max_size=2), st.lists(st.sampled_from(GOOD)))


MESS = st.lists(st.sampled_from(PIECES)).map(b"".join) | TABLES.map(
    lambda parts: b"".join(part for lines in parts for part in lines)
)


SOME = st.sampled_from([["a", "b"], ["b", "a"], ["a"], ["b"], []])


@given(st.sampled_from([b"a,b\n", b"a,b,c\n"]), MESS, BLOCK, SOME)
def test_fast_and_lenient_reader_agree_on_any_block(
    folder: Path, header: bytes, data: bytes, block: int, wanted: list[str]
) -> None:
    fast = read_bytes(folder, header + data, block=block, wanted=wanted)
    slow = read_bytes(folder, header + data, slow=True, wanted=wanted)
    assert fast[:5] == slow[:5]


@given(MESS, BLOCK)
def test_fast_and_lenient_reader_agree_on_one_column(folder: Path, data: bytes, block: int) -> None:
    data = data.replace(b",", b"")
    assert read_bytes(folder, b"a\n" + data, block=block)[:5] == read_bytes(folder, b"a\n" + data, slow=True)[:5]


@given(st.lists(st.tuples(NUMBER, NUMBER, NUMBER), min_size=1, max_size=8), OPTIONS, st.sampled_from(",;"))
def test_fast_numbers_equal_the_numbers_in_the_text(folder: Path, rows: Rows, options: ReadOptions, separator: str) -> None:
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


def test_quotes_a_byte_order_mark_and_crlf_stay_on_the_fast_path(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, b'\xef\xbb\xbf"a b","b"\r\n"1,5","2"\r\n"say ""hi""",\r\n', numbers=["b"])
    assert table.columns == ("a b", "b")
    assert table.frames[0].schema["b"] == pl.Float64
    assert table.cells == [("1,5", 2.0), ('say "hi"', None)]


def test_a_bad_cell_turns_only_its_block_to_text(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, b"a\n" + b"1\n" * 50 + b"x\n" + b"1\n" * 50, block=64, numbers=["a"])
    assert {frame["a"].dtype for frame in table.frames} == {pl.Float64(), pl.String()}
    assert len(table.cells) == 101


def test_a_word_for_a_missing_number_is_remembered_for_the_next_blocks(tmp_path: Path) -> None:
    table = read_bytes(tmp_path, b"a,b\n" + b"?,NA\n2,z\n" * 60, block=128, numbers=["a"], options=ReadOptions(missing=("?",)))
    assert [frame["a"].dtype for frame in table.frames[:2]] == [pl.String(), pl.Float64()]
    assert {row[1] for row in table.cells} == {"NA", "z"}  # text stays as it was written


@pytest.mark.parametrize("cell", ["1e400", "-1e400", "inf"])
def test_an_infinity_stays_text_for_the_encoder(tmp_path: Path, cell: str) -> None:
    table = read_bytes(tmp_path, f"a\n1\n{cell}\n".encode(), numbers=["a"])
    assert table.cells == [("1",), (cell,)]
