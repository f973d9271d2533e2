"""A file that is followed as `tail -F` does, through rotations; the position is kept in a state file beside it (`standing`).

At least once: the position is written when the verdicts are safe, so after a sudden end the last batch comes once more. The
windows of series are those of the position, so it is judged as it was the first time.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from detector.errors import StreamError
from serving.log import log
from serving.stream.changelog_records import Slot
from serving.stream.state_store import Position, Standing
from serving.stream.text import BLOCK, Cutter, TextBatch

HEAD = 256  # bytes by which a file is known again, beside its inode


class FollowSource:
    """A file that grows."""

    def __init__(self, path: Path, state: Path, linger: float) -> None:
        """Go on where the state file says, else at the beginning.

        Raises:
            StreamError: the state file is none.
        """
        self._path = path
        self._standing = Standing(state)
        self._linger = linger
        self._again: TextBatch | None = None
        self._file: BinaryIO | None = None
        self._cutter = Cutter(str(path))
        if position := self._standing.position():
            self._resume(position)

    def take(self) -> TextBatch | None:
        """Give the lines that have come."""
        if self._again:
            batch, self._again = self._again, None
            return batch
        if self._file is None:
            self._file = self._opened()
        if self._file is None or not self._read(self._file):
            time.sleep(self._linger)
        block = self._cutter.cut()
        batch = self._cutter.batch(block)
        if block:
            batch.end = self._position(self._cutter.row)
        return batch

    def commit(self, batch: TextBatch, slots: Sequence[Slot]) -> None:
        """Write the position down, and with it what changed in the windows of series.

        Raises:
            StreamError: it cannot be written.
        """
        if isinstance(batch.end, Position):
            self._standing.commit(batch.end, slots)

    def recall(self, partitions: Sequence[int]) -> Iterable[Slot]:  # noqa: ARG002 - `Source`
        """Give the windows of series as they were at the position."""
        return self._standing.slots()

    def rewind(self, batch: TextBatch) -> None:
        """Give these lines again."""
        self._again = batch

    def idle(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def close(self) -> None:
        """Close the files."""
        self._standing.close()
        if self._file:
            self._file.close()

    def _read(self, file: BinaryIO) -> bool:
        """Read what has come; at the end of a file that was moved away or cut, go on with the new one."""
        if piece := file.read(BLOCK):
            self._cutter.add(piece)
            return True
        if os.fstat(file.fileno()).st_size < file.tell():
            log().warning("file was cut: read from its beginning", file=str(self._path))
            file.seek(0)
            self._cutter = Cutter(str(self._path))
        elif self._moved(file):
            if piece := file.read(BLOCK):  # what came between our looking and its moving
                self._cutter.add(piece)
                return True
            self._cutter.close()
            if not self._cutter.held:
                self._leave(file)
        return False

    def _moved(self, file: BinaryIO) -> bool:
        """Whether another file now has the name."""
        try:
            return self._path.stat().st_ino != os.fstat(file.fileno()).st_ino
        except FileNotFoundError:
            return False

    def _leave(self, file: BinaryIO) -> None:
        """Open the new file at the next `take`."""
        file.close()
        self._file = None
        self._cutter = Cutter(str(self._path))

    def _opened(self) -> BinaryIO | None:
        """Open the file if it is there."""
        try:
            return self._path.open("rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StreamError(f"{self._path} cannot be read: {error.strerror}") from error

    def _resume(self, position: Position) -> None:
        """Open the file that was read, under whatever name it is in the folder now."""
        beside = sorted(self._path.parent.glob(f"{self._path.name}*"), key=lambda each: each != self._path)
        for path in beside:
            if path.is_file() and is_same(path, position):
                self._file = path.open("rb")
                self._file.seek(position.offset)
                self._cutter = Cutter(str(self._path), position.row)
                return
        log().warning("the file that was read is gone: read the new one from its beginning", file=str(self._path))

    def _position(self, row: int) -> Position:
        """Give where the lines end that were cut."""
        assert self._file  # noqa: S101 - lines came out of it
        file = self._file.fileno()
        offset = self._file.tell() - self._cutter.held
        head = os.pread(file, min(HEAD, offset), 0)
        return Position(os.fstat(file).st_ino, hashlib.sha256(head).hexdigest(), len(head), offset, row)


def is_same(path: Path, position: Position) -> bool:
    """Whether a file is the one that was read."""
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        if found.st_ino != position.inode or found.st_size < position.offset:
            return False
        return hashlib.sha256(file.read(position.head_bytes)).hexdigest() == position.head
