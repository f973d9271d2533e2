"""NDJSON: one object per line, whose keys are the columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.errors import ResiduumError, TableError
from detector.files import blocks
from tests.detector.files.reading import read

CSV = b"a,b\n1,x\n2,y\n"


NDJSON = b'{"a":1,"b":"x"}\n{"a":2,"b":"y"}\n'


def test_objects_may_have_different_keys(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_bytes(b'{"a":1}\n{"b":"y","a":null}\n{"c":true}\n')
    table = read(path, ["c", "a", "b"], ["a"])
    assert table.columns == ("a", "b", "c")
    assert table.cells == [(None, 1.0, None), (None, None, "y"), ("true", None, None)]


@pytest.mark.parametrize("block", [8, 4 << 20])
@pytest.mark.parametrize(("late", "is_there"), [(b'"beta":1', True), (b'"beta":null', True), (b'"c":"beta"', False)])
def test_a_key_in_no_object_is_a_missing_column(
    tmp_path: Path, late: bytes, block: int, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", block)
    path = tmp_path / "t.ndjson"
    path.write_bytes(b'{"a":1,"betta":2}\n' * 9 + b"{" + late + b"}\n")
    if is_there:
        assert len(read(path, ["a", "beta"], ["beta"]).rows) == 10
        return
    with pytest.raises(TableError, match=r"t.ndjson lacks the column 'beta' \(near: 'betta'\); it has 'a', 'betta'"):
        read(path, ["a", "beta"], ["beta"])


def test_a_file_without_objects_lacks_no_column(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_bytes(b"[1]\n7\n")
    assert read(path, ["a"]).rejected == [1, 2]


def test_ndjson_values_have_the_text_they_would_have_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_bytes(b'{"a":7.0}\n{"a":0.1}\n{"a":false}\n{"a":"7.0"}\n{"a":12345678901234567890}\n{"a":1e300}\n')
    assert [row[0] for row in read(path).cells] == ["7", "0.1", "false", "7.0", "12345678901234567890", "1e+300"]


@pytest.mark.parametrize(("odd", "text"), [(b'"2"', "2"), (b"true", "true"), (b'"x"', "x"), (b"9" * 400, "9" * 400)])
def test_a_value_that_is_not_a_number_turns_its_block_to_text(tmp_path: Path, odd: bytes, text: str) -> None:
    path = tmp_path / "t.ndjson"
    path.write_bytes(b'{"a":1}\n{"a":' + odd + b'}\n{"a":2.5}\n')
    assert [row[0] for row in read(path, numbers=["a"]).cells] == ["1", text, "2.5"]


@pytest.mark.parametrize(
    ("line", "column", "expected"),
    [
        (b'{"a":1', "", "a JSON object"),
        (b"[1]", "", "a JSON object"),
        (b"7", "", "a JSON object"),
        (b'{"a":NaN}', "", "a JSON object"),
        (b'{"a":"\xff"}', "", "a JSON object"),
        (b'{"a":1,"unwanted":"\xff"}', "", "a JSON object"),
        (b'{"a":1}{"a":2}', "", "a JSON object"),
        (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", "", "a JSON object"),
        (b'{"a":[1]}', "a", "a number, a text"),
        (b'{"a":{"b":1}}', "a", "a number, a text"),
        (b'{"a":1e400}', "a", "a number within float64"),
    ],
)
@pytest.mark.parametrize("numbers", [(), ("a",)])
def test_a_bad_line_is_rejected_alone(tmp_path: Path, line: bytes, column: str, expected: str, numbers: tuple[str, ...]) -> None:
    path = tmp_path / "t.ndjson"
    path.write_bytes(b'{"a":1}\n' + line + b'\n{"a":2}')
    table = read(path, ["a"], numbers)
    assert [(reject.row, reject.column) for reject in table.rejects] == [(2, column)]
    assert table.rejects[0].expected.startswith(expected)
    assert len(table.rejects[0].found) <= 80
    assert table.rows == [1, 3]


def test_blank_lines_between_objects_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_bytes(b'\n{"a":1}\n \n{"a":2}\n')
    table = read(path)
    assert (table.rows, table.blank) == ([2, 4], 2)


def test_unwanted_keys_may_hold_any_value(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_bytes(b'{"a":1,"meta":{"x":[1]}}\n')
    assert read(path, ["a"]).cells == [("1",)]


def test_keys_that_are_not_identifiers(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_bytes(b'{"a\\"b":1,"c\\nd":2}\n')
    assert read(path, numbers=['a"b']).cells == [(1.0, "2")]


def test_an_object_on_two_lines_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_bytes(b'{"a":\n1}\n{"a":2}{"a":3}\n{"a":4}\n')
    table = read(path, ["a"])
    assert table.rejected == [1, 2, 3]
    assert table.rows == [4]


def test_an_empty_ndjson_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_bytes(b" \n")
    with pytest.raises(TableError, match="is empty"):
        read(path)


SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ndjson")


@given(
    st.lists(st.dictionaries(st.sampled_from(["a", "b", 'q"']), SCALAR), min_size=1),
    st.sampled_from([20, 4 << 20]),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_any_records_are_read_back_for_any_block_size(
    folder: Path, records: list[dict[str, object]], block: int, end: bytes
) -> None:
    path = folder / "t.ndjson"
    path.write_bytes(end.join(json.dumps(record, ensure_ascii=False).encode() for record in records))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", block)
        try:
            table = read(path, ["a", "b", 'q"'])
        except TableError:
            assert {"a", "b", 'q"'} - {key for record in records for key in record}
            return
    assert table.rows == [row for row, record in enumerate(records, 1) if record]
    for record, row in zip(filter(None, records), table.cells, strict=True):
        for key, cell in zip(["a", "b", 'q"'], row, strict=True):
            value = record.get(key)
            if isinstance(value, str):
                assert cell == (value or None)
            elif value is None:
                assert cell is None
            elif isinstance(value, bool):
                assert cell == str(value).lower()
            else:
                assert float(cell) == float(value)


@given(st.binary(max_size=100), st.sampled_from([8, 4 << 20]))
def test_no_bytes_break_the_ndjson_reader(folder: Path, data: bytes, block: int) -> None:
    path = folder / "any.ndjson"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", block)
        try:
            table = read(path, ["a"], ["a"])
        except ResiduumError:
            return
    assert len(table.rows) + len(table.rejects) + table.blank == data.count(b"\n") + (not data.endswith(b"\n"))
