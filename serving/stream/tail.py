"""Tailing a file as `tail -F` does, through rotations; the position is kept in a state file beside it (`state_store`).

Delivery is at least once: the position is written after the verdicts, so the last batch may be scored again after a sudden end.
The windows of series are those at the position, so its verdicts are the same.
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
from serving.stream.changelog_records import ChangelogRecord
from serving.stream.state_store import FilePosition, StateStore
from serving.stream.text import BATCH_BYTES, LineBatch, LineBuffer, LineSource

HEAD_BYTES = 256  # that identify a file, together with its inode


class TailSource(LineSource):
    """A file that grows."""

    def __init__(self, path: Path, state: Path, linger: float) -> None:
        """Continue at the position in the state file, or start at the beginning.

        Raises:
            StreamError: the state file is invalid.
        """
        super().__init__()
        self._path = path
        self._store = StateStore(state)
        self._linger = linger
        self._file: BinaryIO | None = None
        self._buffer = LineBuffer(str(path))
        if position := self._store.position():
            self._resume(position)

    def _read_batch(self) -> LineBatch:
        if self._file is None:
            self._file = self._open()
        if self._file is None or not self._read(self._file):
            time.sleep(self._linger)
        batch = self._buffer.take_batch()
        if len(batch):
            batch.end = self._position()
        return batch

    def commit(self, batch: LineBatch, changes: Sequence[ChangelogRecord]) -> None:
        """Write the position and the changes to windows of series.

        Raises:
            StreamError: the state file cannot be written.
        """
        if isinstance(batch.end, FilePosition):
            self._store.commit(batch.end, changes)

    def read_state(self, partitions: Sequence[int]) -> Iterable[ChangelogRecord]:  # noqa: ARG002 - `StreamSource`
        """Yield the windows of series at the position."""
        return self._store.records()

    def close(self) -> None:
        """Close the file and the state file."""
        self._store.close()
        if self._file:
            self._file.close()

    def _read(self, file: BinaryIO) -> bool:
        """Read new bytes and return whether there were any; switch files at the end of one that was truncated or renamed."""
        if self._read_block(file):
            return True
        if os.fstat(file.fileno()).st_size < file.tell():
            log().warning("file was truncated: reading it from the beginning", file=str(self._path))
            file.seek(0)
            self._buffer = LineBuffer(str(self._path))
        elif self._is_renamed(file):
            if self._read_block(file):  # written between the last read and the rename
                return True
            self._buffer.end_line()
            if not len(self._buffer):
                file.close()
                self._file = None  # the next `poll` opens the new file
                self._buffer = LineBuffer(str(self._path))
        return False

    def _read_block(self, file: BinaryIO) -> bool:
        data = file.read(BATCH_BYTES)
        self._buffer.add(data)
        return bool(data)

    def _is_renamed(self, file: BinaryIO) -> bool:
        """Return whether another file has the name now."""
        try:
            return self._path.stat().st_ino != os.fstat(file.fileno()).st_ino
        except FileNotFoundError:
            return False

    def _open(self) -> BinaryIO | None:
        try:
            return self._path.open("rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StreamError(f"{self._path} cannot be read: {error.strerror}") from error

    def _resume(self, position: FilePosition) -> None:
        """Open the file that was read, whatever its name in the folder is now."""
        candidates = sorted(self._path.parent.glob(f"{self._path.name}*"), key=lambda path: path != self._path)
        for path in candidates:
            if path.is_file() and is_same_file(path, position):
                self._file = path.open("rb")
                self._file.seek(position.offset)
                self._buffer = LineBuffer(str(self._path), position.row)
                return
        log().warning("the file that was read is gone: reading the new one from its beginning", file=str(self._path))

    def _position(self) -> FilePosition:
        """Return the position after the last batch."""
        assert self._file  # noqa: S101 - the batch was read from it
        file = self._file.fileno()
        offset = self._file.tell() - len(self._buffer)
        head = os.pread(file, min(HEAD_BYTES, offset), 0)
        return FilePosition(os.fstat(file).st_ino, hashlib.sha256(head).hexdigest(), len(head), offset, self._buffer.row)


def is_same_file(path: Path, position: FilePosition) -> bool:
    """Return whether a file is the one of this position."""
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        if stat.st_ino != position.inode or stat.st_size < position.offset:
            return False
        return hashlib.sha256(file.read(position.head_bytes)).hexdigest() == position.head
