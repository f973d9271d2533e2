"""Compressed files are read in bounded pieces; truncated and modified ones raise."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from detector.errors import TableError
from detector.files import open_source
from tests.detector.files.reading import read

CSV = b"a,b\n1,x\n2,y\n"


PACK = {"": lambda data: data, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


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
def test_truncated_or_modified_compressed_data_is_an_error(
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


def test_skippable_zstd_frames_are_skipped(tmp_path: Path) -> None:
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


def test_an_empty_compressed_file_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.zst"
    path.write_bytes(b"")
    with pytest.raises(TableError, match="is empty"):
        read(path)
