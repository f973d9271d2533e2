import contextlib
import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import polars as pl
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from detector.errors import ResiduumError, TableError
from detector.files import blocks as cutting
from detector.files import open_source
from detector.files import parquet as parquet_windows
from tests.detector.files.reading import read

CSV = b"a,b\n1,x\n2,y\n"
NDJSON = b'{"a":1,"b":"x"}\n{"a":2,"b":"y"}\n'
PACK = {"": lambda data: data, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


@pytest.mark.parametrize("compression", PACK)
@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        (".csv", CSV),
        (".TSV", CSV.replace(b",", b"\t")),
        (".txt", CSV),
        (".dat", CSV),
        ("", CSV),
        (".ndjson", NDJSON),
        (".jsonl", NDJSON),
    ],
)
def test_every_text_format_in_every_compression(tmp_path: Path, suffix: str, data: bytes, compression: str) -> None:
    path = tmp_path / f"table{suffix}{compression}"
    path.write_bytes(PACK[compression](data))
    table = read(path, ["b", "a"], ["a"])
    assert table.cells == [("x", 1.0), ("y", 2.0)]
    assert table.columns == ("a", "b")


@pytest.mark.parametrize("suffix", [".parquet", ".pq"])
def test_parquet_keeps_its_types_and_counts_rows_from_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(parquet_windows, "SLICE_BYTES", 32)
    path = tmp_path / f"t[1]{suffix}"
    pl.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"], "c": [True, False, None]}).write_parquet(path)
    table = read(path, ["c", "a"])
    assert table.cells == [(True, 1), (False, 2), (None, 3)]
    assert table.rows == [1, 2, 3]
    assert len(table.frames) == 2
    with open_source(str(path)) as source:
        assert source.size == path.stat().st_size
        list(source.blocks([]))
        assert source.position == source.size


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" * 20, b"a,b\n1,2\n"])
def test_no_parquet_is_an_error_of_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(data)
    with pytest.raises(TableError, match="no Parquet file") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", range(0, 400, 25))
def test_a_damaged_parquet_never_raises_anything_else(tmp_path: Path, damage: int) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"a": list(range(50))}).write_parquet(path, compression="uncompressed", statistics=False)
    data = bytearray(path.read_bytes())
    data[damage % len(data)] ^= 0xFF
    path.write_bytes(data)
    with contextlib.suppress(ResiduumError):
        read(path)


@pytest.mark.parametrize("compression", [".gz", ".zst"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-5],
        lambda data: data[: len(data) // 2],
        lambda data: b"nonsense" + data,
        lambda data: data + b"rubbish!",
    ],
    ids=["tail", "half", "start", "rubbish"],
)
def test_compressed_data_that_is_cut_or_changed_is_an_error(
    tmp_path: Path, compression: str, spoil: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"t.csv{compression}"
    path.write_bytes(spoil(PACK[compression](CSV * 5000)))
    with pytest.raises(TableError, match="is damaged or cut short"):
        read(path)


@pytest.mark.parametrize("compression", [".gz", ".zst"])
def test_several_members_and_frames_are_one_file(tmp_path: Path, compression: str) -> None:
    path = tmp_path / f"t.csv{compression}"
    path.write_bytes(PACK[compression](b"a\n1\n") + PACK[compression](b"") + PACK[compression](b"2\n"))
    assert read(path).cells == [("1",), ("2",)]


def test_zstd_may_hold_frames_to_be_skipped(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.zst"
    path.write_bytes(b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc" + PACK[".zst"](CSV))
    assert len(read(path).cells) == 2


@pytest.mark.parametrize("compression", [".gz", ".zst"])
def test_the_position_counts_bytes_on_disk(tmp_path: Path, compression: str) -> None:
    path = tmp_path / f"t.csv{compression}"
    path.write_bytes(PACK[compression](CSV + b"3,z\n" * 100_000))
    with open_source(str(path)) as source:
        list(source.blocks(["a"]))
        assert source.position == source.size == path.stat().st_size


def test_nothing_compressed_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.zst"
    path.write_bytes(b"")
    with pytest.raises(TableError, match="is empty"):
        read(path)


@pytest.mark.parametrize("data", [CSV, b"\xef\xbb\xbf" + CSV, NDJSON, b" \n" + NDJSON])
def test_standard_input_is_csv_or_ndjson(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    with open_source("-") as source:
        assert (source.name, source.size, source.columns) == ("-", None, ("a", "b"))
        rows = [row for block in source.blocks(["a", "b"], ["a"]) for row in block.frame.rows()]
        assert source.position == len(data)
    assert rows == [(1.0, "x"), (2.0, "y")]
    assert not sys.stdin.closed


def test_closed_standard_input_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(TableError, match="standard input is closed"):
        open_source("-")


def test_a_file_that_is_not_there_names_what_is(tmp_path: Path) -> None:
    (tmp_path / "pumps.csv").write_bytes(CSV)
    with pytest.raises(TableError, match=r"pump\.csv does not exist; similar: .*pumps\.csv"):
        open_source(str(tmp_path / "pump.csv"))
    with pytest.raises(TableError, match="nor does the folder"):
        open_source(str(tmp_path / "no" / "pump.parquet"))


@pytest.mark.parametrize("suffix", ["", ".csv", ".parquet"])
def test_a_folder_is_an_error_that_says_what_to_do(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / f"days{suffix}"
    folder.mkdir()
    with pytest.raises(TableError, match=r"is a folder: name its files, for instance '.*\*\.csv'"):
        open_source(str(folder))


def test_a_file_that_may_not_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)  # root may read everything, so the mode bits cannot show it
    with pytest.raises(TableError, match="cannot be opened: Permission denied"):
        open_source(str(tmp_path / "t.csv"))


def test_a_disk_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(CSV)
    source = open_source(str(path))

    def fail(_size: int) -> NoReturn:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(source._stream, "_bytes", type("Broken", (), {"read": staticmethod(fail)}))  # noqa: SLF001
    with source, pytest.raises(TableError, match="cannot be read: Input/output error"):
        list(source.blocks(["a"]))


def test_ndjson_keys_may_come_and_go(tmp_path: Path) -> None:
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
    monkeypatch.setattr(cutting, "BLOCK_BYTES", block)
    path = tmp_path / "t.ndjson"
    path.write_bytes(b'{"a":1,"betta":2}\n' * 9 + b"{" + late + b"}\n")
    if is_there:
        assert len(read(path, ["a", "beta"], ["beta"]).rows) == 10
        return
    with pytest.raises(TableError, match=r"t.ndjson lacks the column 'beta' \(near: 'betta'\); it has 'a', 'betta'"):
        read(path, ["a", "beta"], ["beta"])


def test_lines_that_are_no_objects_lack_no_column(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_bytes(b"[1]\n7\n")
    assert read(path, ["a"]).rejected == [1, 2]


def test_ndjson_values_have_the_text_they_would_have_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_bytes(b'{"a":7.0}\n{"a":0.1}\n{"a":false}\n{"a":"7.0"}\n{"a":12345678901234567890}\n{"a":1e300}\n')
    assert [row[0] for row in read(path).cells] == ["7", "0.1", "false", "7.0", "12345678901234567890", "1e+300"]


@pytest.mark.parametrize(("odd", "text"), [(b'"2"', "2"), (b"true", "true"), (b'"x"', "x"), (b"9" * 400, "9" * 400)])
def test_one_value_that_is_no_number_makes_its_block_text(tmp_path: Path, odd: bytes, text: str) -> None:
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


def test_keys_that_nobody_wants_may_hold_anything(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_bytes(b'{"a":1,"meta":{"x":[1]}}\n')
    assert read(path, ["a"]).cells == [("1",)]


def test_keys_that_no_field_can_be_named_after(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_bytes(b'{"a\\"b":1,"c\\nd":2}\n')
    assert read(path, numbers=['a"b']).cells == [(1.0, "2")]


def test_an_object_over_two_lines_is_no_ndjson(tmp_path: Path) -> None:
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
def test_any_records_come_back_whatever_the_block(folder: Path, records: list[dict[str, object]], block: int, end: bytes) -> None:
    path = folder / "t.ndjson"
    path.write_bytes(end.join(json.dumps(record, ensure_ascii=False).encode() for record in records))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "BLOCK_BYTES", block)
        try:
            table = read(path, ["a", "b", 'q"'])
        except TableError:
            assert {"a", "b", 'q"'} - {key for record in records for key in record}
            return
    assert table.rows == list(range(1, len(records) + 1))
    for record, row in zip(records, table.cells, strict=True):
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
        patch.setattr(cutting, "BLOCK_BYTES", block)
        try:
            table = read(path, ["a"], ["a"])
        except ResiduumError:
            return
    assert len(table.rows) + len(table.rejects) + table.blank == data.count(b"\n") + (not data.endswith(b"\n"))
