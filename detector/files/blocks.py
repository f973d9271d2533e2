"""Cutting a stream of bytes into blocks that end with a line."""

from __future__ import annotations

from detector.errors import TableError
from detector.files.stream import ByteStream

BLOCK = 4 << 20
LONGEST = 16 << 20  # bytes of one record: what a quote that never closes may cost


class Cutter:
    """Takes blocks off a stream; what belongs to the next block is held back or given back."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._held = b""
        self.ended = False

    def take(self, line: int) -> bytes:
        """Give whole lines, about one block of them, the first being number `line`; nothing at the end.

        Raises:
            TableError: a line is too long to be one, or the file is damaged.
        """
        while True:
            chunk = self._stream.read(BLOCK)
            if len(chunk) < BLOCK:
                self.ended = True
                return self._rest(chunk)
            cut = chunk.rfind(b"\n") + 1
            if cut:
                block = b"".join((self._held, memoryview(chunk)[:cut]))
                self._held = chunk[cut:]
                return block
            self._held += chunk
            self._check_length(line)

    def give_back(self, rest: bytes) -> None:
        """Put the beginning of a record that did not end in its block before the next one."""
        self._held = rest + self._held

    def _rest(self, chunk: bytes) -> bytes:
        """Give what is left, its last line closed."""
        rest, self._held = self._held + chunk, b""
        return rest if not rest or rest.endswith(b"\n") else rest + b"\n"

    def _check_length(self, line: int) -> None:
        if len(self._held) - self._held.rfind(b"\n") > LONGEST:
            line += self._held.count(b"\n")
            size = LONGEST >> 20
            raise TableError(f"{self._stream.name}, line {line}: longer than {size} MB, so this is no table of text")
