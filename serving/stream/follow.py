"""A file that is followed as `tail -F` does, through rotations; the position is kept in a small file beside it.

At least once: the position is written when the verdicts are safe, so after a sudden end the last batch comes once more.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import BinaryIO

import msgspec

from detector.errors import StreamError
from serving.log import log
from serving.stream.text import BLOCK, Cutter, TextBatch

HEAD = 256  # bytes by which a file is known again, beside its inode


class Position(msgspec.Struct, frozen=True):
    """Where the next line begins: in the file that had this inode and began with these bytes."""

    inode: int
    head: str  # SHA-256 of the first `head_bytes` bytes
    head_bytes: int
    offset: int
    row: int


class FollowSource:
    """A file that grows."""

    def __init__(self, path: Path, state: Path, linger: float) -> None:
        """Go on where the state file says, else at the beginning.

        Raises:
            StreamError: the state file is none.
        """
        self._path = path
        self._state = state
        self._linger = linger
        self._again: TextBatch | None = None
        self._file: BinaryIO | None = None
        self._cutter = Cutter(str(path))
        if position := read_state(state):
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
        row = self._cutter.row + block.count(b"\n")
        return self._cutter.batch(block, self._position(row) if block else None)

    def commit(self, batch: TextBatch) -> None:
        """Write the position down.

        Raises:
            StreamError: it cannot be written.
        """
        if batch.end is None:
            return
        work = self._state.with_name(f".{self._state.name}.part")
        try:
            with work.open("wb") as file:
                file.write(msgspec.json.encode(batch.end) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            work.replace(self._state)
        except OSError as error:
            said = error.strerror or error
            raise StreamError(f"cannot write the position to {self._state}: {said}; the last batch will come again") from error

    def rewind(self, batch: TextBatch) -> None:
        """Give these lines again."""
        self._again = batch

    def idle(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def close(self) -> None:
        """Close the file."""
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


def read_state(state: Path) -> Position | None:
    """Read where a worker stood.

    Raises:
        StreamError: the file is no such position.
    """
    try:
        return msgspec.json.decode(state.read_bytes(), type=Position)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StreamError(f"{state} holds no position: {error}; name another by --state, or delete it to begin anew") from error


def is_same(path: Path, position: Position) -> bool:
    """Whether a file is the one that was read."""
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        if found.st_ino != position.inode or found.st_size < position.offset:
            return False
        return hashlib.sha256(file.read(position.head_bytes)).hexdigest() == position.head
