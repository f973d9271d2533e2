"""Splitting a stream of bytes into blocks of whole lines."""

from __future__ import annotations

import numpy as np

from detector.errors import TableError
from detector.files.stream import ByteStream

BLOCK_BYTES = 4 << 20
PIECES = 8  # of a block that is read again
MAX_RECORD_BYTES = 16 << 20  # bounds the cost of a quote that never closes


class BlockSplitter:
    """Splits a stream into blocks; a reader can return an unfinished record, or read the last block again in pieces."""

    def __init__(self, stream: ByteStream, size: int) -> None:
        self._stream = stream
        self._size = size
        self._unread = b""  # returned by the reader
        self._again = b""  # to be read again, in pieces
        self._tail = b""  # the start of the next line
        self._exhausted = False
        self._is_new = False  # whether the last block came from the stream, not from `_again`

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing follows the last block."""
        return self._exhausted and not self._again

    def next_block(self, line: int) -> bytes:
        """Return about one block of whole lines, the first being line number `line`; empty at the end.

        Raises:
            TableError: a line is too long, or the file is damaged.
        """
        self._is_new = not self._again
        block = self._from_stream(line) if self._is_new else self._next_piece()
        block, self._unread = self._unread + block if self._unread else block, b""
        return block

    def unread(self, rest: bytes) -> None:
        """Prepend the start of a record that did not end in its block to the next block."""
        self._unread = rest

    def retry_in_pieces(self, block: bytes) -> bool:
        """Schedule the last block to be read again in pieces; return False if it is a piece already."""
        if self._is_new and len(block) > self._size // PIECES:
            self._again = block
            return True
        return False

    def _from_stream(self, line: int) -> bytes:
        while not self._exhausted:
            chunk = self._stream.read(self._size)
            self._exhausted = len(chunk) < self._size
            cut = len(chunk) if self._exhausted else chunk.rfind(b"\n") + 1
            if cut or self._exhausted:
                block, self._tail = b"".join((self._tail, memoryview(chunk)[:cut])), chunk[cut:]
                return ensure_newline(block)
            self._tail += chunk
            if len(self._tail) > MAX_RECORD_BYTES:
                line += count(self._unread, b"\n")
                raise TableError(
                    f"{self._stream.name}, line {line} does not end within {MAX_RECORD_BYTES >> 20} MB: is this a table?"
                )
        return b""

    def _next_piece(self) -> bytes:
        cut = self._again.find(b"\n", self._size // PIECES) + 1 or len(self._again)
        piece, self._again = self._again[:cut], self._again[cut:]
        return piece


def count(block: bytes, *values: bytes) -> int:
    """Return how often single bytes occur in a block."""
    cells = np.frombuffer(block, np.uint8)  # four times as fast as `bytes.count`
    return sum(int(np.count_nonzero(cells == ord(value))) for value in values)


def ensure_newline(block: bytes) -> bytes:
    """Append a line break to a block that does not end with one, as the last line of a file may not."""
    return block if not block or block.endswith(b"\n") else block + b"\n"
