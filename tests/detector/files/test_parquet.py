"""Parquet is read in slices, with its own types."""

from __future__ import annotations

import contextlib
from pathlib import Path

import polars as pl
import pytest

from detector.errors import ResiduumError, TableError
from detector.files import open_source
from detector.files import parquet as parquet_windows
from tests.detector.files.reading import read


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
def test_a_file_that_is_not_parquet_is_a_one_line_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(data)
    with pytest.raises(TableError, match="not a Parquet file") as caught:
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
