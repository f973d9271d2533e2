"""The reader of a file is chosen by its suffix, or by its first byte."""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path

import pytest
import zstandard

from detector.files import open_source
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


@pytest.mark.parametrize("data", [CSV, b"\xef\xbb\xbf" + CSV, NDJSON, b" \n" + NDJSON])
def test_standard_input_is_csv_or_ndjson(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    with open_source("-") as source:
        assert (source.name, source.size, source.columns) == ("-", None, ("a", "b"))
        rows = [row for block in source.blocks(["a", "b"], ["a"]) for row in block.frame.rows()]
        assert source.position == len(data)
    assert rows == [(1.0, "x"), (2.0, "y")]
    assert not sys.stdin.closed
