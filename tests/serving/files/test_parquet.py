"""Parquet in constant memory."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from serving.files.sinks import committed, open_sink


def test_blocks_are_spooled_and_joined_in_order(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "out.parquet"))
    blocks = [pl.DataFrame({"row": range(start, start + 10)}) for start in range(0, 150, 10)]
    with committed(sink):
        for block in blocks:
            sink.add(block)
        (folder,) = tmp_path.iterdir()
        assert len(list(folder.iterdir())) == len(blocks)
    assert list(tmp_path.iterdir()) == [tmp_path / "out.parquet"]
    assert pl.read_parquet(tmp_path / "out.parquet").equals(pl.concat(blocks))


def test_without_rows_there_is_an_empty_file(tmp_path: Path) -> None:
    with committed(open_sink(str(tmp_path / "out.parquet"))):
        pass
    assert pl.read_parquet(tmp_path / "out.parquet").height == 0


def test_an_error_deletes_the_spooled_blocks(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "out.parquet"))

    def fail() -> None:
        with committed(sink):
            sink.add(pl.DataFrame({"row": [1]}))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not list(tmp_path.iterdir())
