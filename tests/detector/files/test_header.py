"""The header of a delimited file: names, separator, and the errors of an unusable header."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.errors import TableError
from tests.detector.files.reading import read_bytes


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
        (b"a\x00,\x00b\x00", "UTF-16: read it with --encoding utf-16-le"),
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
