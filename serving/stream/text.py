"""Lines of JSON: standard input as a source, and standard output or a growing file as a sink."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import msgspec

from detector.errors import OutputError, StreamError
from detector.files.blocks import MAX_RECORD_BYTES, count
from detector.files.stream import BOM, standard_input
from serving.files.output import STDOUT, output_errors, standard_output
from serving.log import log
from serving.stream import dead_letters
from serving.stream.base import Headers, Origin, ScoredRecords
from serving.stream.changelog_records import ChangelogRecord

ENCODER = msgspec.json.Encoder()
BATCH_BYTES = 1 << 19  # a batch of this size and its verdicts fit the CPU's cache
STDIN = "-"


class LineBatch:
    """Lines of a file; a blank line is no record."""

    position: object = None  # the source commits it
    end: object = None  # the source's position after this batch, if it has one
    assignments: Mapping[int, int] = {-1: 0}
    has_keys = False

    def __init__(self, block: bytes, file: str, row: int) -> None:
        """Wrap complete lines, of which the first has the number `row`."""
        self.block = block
        self._file = file
        self._row = row
        self._lines = count(block, b"\n")

    def __len__(self) -> int:
        """Return the number of lines."""
        return self._lines

    @cached_property
    def values(self) -> Sequence[bytes | None]:
        """The lines."""
        return self.block.split(b"\n")[:-1]

    def origins(self, indices: Sequence[int]) -> Sequence[Origin]:
        """Return file and line number of the lines at these indices."""
        file, row = self._file, self._row
        return [Origin("", -1, -1, file, row + index) for index in indices]

    def partitions(self) -> Sequence[int]:
        """Return -1 for each line."""
        return [-1] * self._lines

    def keys(self, indices: Sequence[int]) -> Sequence[None]:
        """Return None for each index: lines have no keys."""
        return [None] * len(indices)

    def headers(self, indices: Sequence[int]) -> Sequence[Headers]:
        """Return no headers for each index."""
        return [()] * len(indices)

    def timestamps(self, indices: Sequence[int]) -> Sequence[int]:
        """Return 0 for each index: lines have no timestamps."""
        return [0] * len(indices)

    def is_blank(self, index: int) -> bool:
        """Return whether a line is empty."""
        return not (self.values[index] or b"").strip()


class LineBuffer:
    """Buffers bytes, and cuts them into batches of complete, numbered lines."""

    def __init__(self, file: str, row: int = 1) -> None:
        self.row = row  # of the next line
        self._file = file
        self._buffer = bytearray()

    def __len__(self) -> int:
        """Return the number of buffered bytes."""
        return len(self._buffer)

    def add(self, data: bytes) -> None:
        """Append bytes."""
        self._buffer += data

    def end_line(self) -> None:
        """Terminate an unfinished last line."""
        if self._buffer and not self._buffer.endswith(b"\n"):
            self._buffer += b"\n"

    def take_batch(self) -> LineBatch:
        """Remove and return the complete lines.

        Raises:
            StreamError: a line exceeds the limit.
        """
        end = self._buffer.rfind(b"\n") + 1
        if not end and len(self._buffer) > MAX_RECORD_BYTES:
            raise StreamError(
                f"{self._file}, line {self.row} does not end within {MAX_RECORD_BYTES >> 20} MB: are these records?"
            )
        block = bytes(self._buffer[:end])
        del self._buffer[:end]
        batch = LineBatch(block.removeprefix(BOM) if self.row == 1 else block, self._file, self.row)
        self.row += len(batch)
        return batch


class LineSource:
    """Base class of sources of lines: keeps a rewound batch for the next `poll`."""

    def __init__(self) -> None:
        self._rewound: LineBatch | None = None

    def poll(self) -> LineBatch | None:
        """Return the next lines."""
        batch, self._rewound = self._rewound, None
        return batch or self._read_batch()

    def rewind(self, batch: LineBatch) -> None:
        """Return these lines from the next `poll`."""
        self._rewound = batch

    def idle(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)

    def _read_batch(self) -> LineBatch | None:
        raise NotImplementedError


class StdinSource(LineSource):
    """Standard input, to its end; a restarted worker cannot read the same lines again."""

    def __init__(self, linger: float, file: int | None = None) -> None:
        """Read from a file descriptor; a batch waits up to `linger` seconds for more lines."""
        super().__init__()
        self._file = standard_input().fileno() if file is None else file
        self._linger = linger
        self._buffer = LineBuffer(STDIN)
        self._ended = False

    def _read_batch(self) -> LineBatch | None:
        if self._ended:
            return None
        deadline = time.monotonic() + self._linger
        while len(self._buffer) < BATCH_BYTES and (remaining := deadline - time.monotonic()) > 0:
            if not select.select([self._file], [], [], remaining)[0]:
                break
            data = os.read(self._file, BATCH_BYTES)
            if not data:
                self._ended = True
                self._buffer.end_line()
                break
            self._buffer.add(data)
        return self._buffer.take_batch()

    def commit(self, batch: LineBatch, changes: Sequence[ChangelogRecord]) -> None:
        """Do nothing: a pipe has no position."""

    def read_state(self, partitions: Sequence[int]) -> Iterable[ChangelogRecord]:  # noqa: ARG002 - `StreamSource`
        """Return nothing: the series of a pipe start with it."""
        return ()

    def close(self) -> None:
        """Do nothing: standard input is not ours to close."""


class LineSink:
    """Standard output, or a file that grows; what was written stays visible, so batches may appear twice."""

    def __init__(self, verdicts: str | None, dead_letters_to: str | None) -> None:
        """Open the files; None for what goes elsewhere. If both are one file, its lines are in the order of the records.

        Raises:
            OutputError: a file cannot be written.
        """
        self._verdicts = AppendFile(verdicts) if verdicts else None
        self._is_shared = dead_letters_to == verdicts
        self._dead_letters = AppendFile(dead_letters_to) if dead_letters_to and not self._is_shared else None
        self._files = [file for file in (self._dead_letters, self._verdicts) if file]

    def add(self, scored: ScoredRecords) -> None:
        """Write verdicts and dead letters."""
        if scored.dead_letters and self._dead_letters:
            lines = (dead_letters.line(dead_letter, scored.batch) + b"\n" for dead_letter in scored.dead_letters)
            self._dead_letters.write(b"".join(lines))
        if self._verdicts:
            is_mixed = scored.dead_letters and self._is_shared
            self._verdicts.write(_in_record_order(scored) if is_mixed else ENCODER.encode_lines(scored.verdicts))

    def flush(self) -> None:
        """Sync files to the disk."""
        for file in self._files:
            file.flush()

    def commit(self, position: object) -> None:
        """Do nothing: written lines are visible already."""

    def discard(self) -> None:
        """Do nothing: written lines stay, and are written again."""

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


class AppendFile:
    """A file that grows by complete lines; opening it removes a last line that a sudden end left unfinished.

    A regular file that was renamed or deleted, as rotation does, is opened anew under its name before the next lines.
    """

    def __init__(self, path: str) -> None:
        """Open the file.

        Raises:
            OutputError: it cannot be written.
        """
        self._path = path
        with output_errors(path):
            self._open()

    def write(self, lines: bytes) -> None:
        """Write lines.

        Raises:
            OutputError: they cannot be written.
        """
        remaining = memoryview(lines)
        with output_errors(self._path):
            if self._is_regular and not self._has_name():
                renamed = self._file
                self._open()
                os.close(renamed)
                log().info("output was renamed or deleted: writing a new file", file=self._path)
            while remaining:
                remaining = remaining[os.write(self._file, remaining) :]

    def flush(self) -> None:
        """Sync a regular file to the disk.

        Raises:
            OutputError: the disk fails.
        """
        if self._is_regular:
            with output_errors(self._path):
                os.fdatasync(self._file)

    def close(self) -> None:
        """Close the file, unless it is standard output."""
        if self._path != STDOUT:
            os.close(self._file)

    def _open(self) -> None:
        path = self._path
        self._file = standard_output().fileno() if path == STDOUT else os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self._is_regular = path != STDOUT and Path(path).is_file()
        if self._is_regular:
            _truncate_unfinished_line(self._file)

    def _has_name(self) -> bool:
        """Return whether the open file still has its name."""
        try:
            return os.path.samestat(Path(self._path).stat(), os.fstat(self._file))
        except FileNotFoundError:
            return False


def _in_record_order(scored: ScoredRecords) -> bytes:
    lines = [(index, ENCODER.encode(verdict)) for index, verdict in zip(scored.indices, scored.verdicts, strict=True)]
    lines += [(dead_letter.batch_index, dead_letters.line(dead_letter, scored.batch)) for dead_letter in scored.dead_letters]
    return b"".join(line + b"\n" for _, line in sorted(lines))


def _truncate_unfinished_line(file: int) -> None:
    size = os.fstat(file).st_size
    tail = os.pread(file, MAX_RECORD_BYTES, max(0, size - MAX_RECORD_BYTES))
    if not tail or tail.endswith(b"\n"):
        return
    end = tail.rfind(b"\n") + 1
    if not end and size > MAX_RECORD_BYTES:
        raise OutputError(f"its last line exceeds {MAX_RECORD_BYTES >> 20} MB, so this is not a file of verdicts")
    os.ftruncate(file, size - len(tail) + end)
