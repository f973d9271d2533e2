"""Blocks end at line ends; readers return unfinished records or read a block again in pieces."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.errors import TableError
from detector.files import blocks
from detector.files.blocks import BlockSplitter
from detector.files.stream import ByteStream
from tests.detector.files.reading import read, read_bytes, written


def test_a_line_without_end_is_an_error_with_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MAX_RECORD_BYTES", 1000)
    with pytest.raises(TableError, match="line 3 does not end within"):
        read_bytes(tmp_path, b"a,b\n1,2\n" + b"3" * 5000, block=256)


def test_a_cell_of_many_lines_may_be_longer_than_a_block(tmp_path: Path) -> None:
    text = "line\n" * 100
    table = read_bytes(tmp_path, written([["a", "b"], [text, "1"], ["x", "2"]]), block=64)
    assert table.cells == [(text, "1"), ("x", "2")]
    assert table.rows == [2, 103]


def test_memory_depends_on_the_block_not_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n" + b"1.25,x\n" * 200_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", 1 << 16)
        table = read(path, numbers=["a"])
    assert max(frame.height for frame in table.frames) < 10_000
    assert len(table.rows) == 200_000


@contextlib.contextmanager
def splitter_of(tmp_path: Path, data: bytes, size: int) -> Iterator[BlockSplitter]:
    path = tmp_path / "data.txt"
    path.write_bytes(data)
    with contextlib.closing(ByteStream(str(path))) as stream:
        yield BlockSplitter(stream, size)


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_blocks_are_whole_lines_and_join_to_the_file(tmp_path: Path, size: int) -> None:
    data = b"one\n\ntwo, three\nfour"
    with splitter_of(tmp_path, data, size) as splitter:
        found = list(iter(lambda: splitter.next_block(1), b""))
        assert splitter.is_exhausted
    assert b"".join(found) == data + b"\n"
    assert all(block.endswith(b"\n") for block in found)


def test_an_unread_rest_comes_before_the_next_block(tmp_path: Path) -> None:
    with splitter_of(tmp_path, b"1\n2\n3\n", 2) as splitter:
        assert splitter.next_block(1) == b"1\n"
        splitter.unread(b"1\n")
        assert splitter.next_block(1) == b"1\n2\n"
        assert splitter.next_block(3) == b"3\n"


def test_a_block_is_read_again_in_pieces_but_a_piece_is_not(tmp_path: Path) -> None:
    data = b"".join(b"%d\n" % number for number in range(100))
    with splitter_of(tmp_path, data, 1000) as splitter:
        block = splitter.next_block(1)
        assert block == data
        assert splitter.retry_in_pieces(block)
        assert not splitter.is_exhausted
        pieces = []
        while piece := splitter.next_block(1):
            pieces.append(piece)
            assert not splitter.retry_in_pieces(piece)
    assert len(pieces) > 1
    assert b"".join(pieces) == data


def test_bytes_are_counted() -> None:
    assert blocks.count(b"a,b;c,\n", b",", b";") == 3
