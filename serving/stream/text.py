"""Lines of JSON: standard input, and verdicts to standard output or to a file that grows."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import msgspec

from detector.errors import OutputError, StreamError
from detector.files.blocks import LONGEST, count
from detector.files.stream import BOM
from serving.files.output import STDOUT, output_errors
from serving.stream import dead_letters
from serving.stream.base import Headers, Origin, Outcome
from serving.stream.changelog_records import Slot

ENCODER = msgspec.json.Encoder()
BLOCK = 1 << 19  # bytes of a batch: with what is made of it, it fits the cache
STDIN = "-"


class TextBatch:
    """Lines of a file; a blank one is no record."""

    claim: object = None
    end: object = None  # where the source stands behind these lines, if it says so
    ours: Mapping[int, int] = {-1: 0}
    keyed = False

    def __init__(self, block: bytes, file: str, row: int) -> None:
        """Take whole lines, the first of which is number `row`."""
        self.block = block
        self._file = file
        self._row = row
        self._lines = count(block, b"\n")

    def __len__(self) -> int:
        """How many lines there are."""
        return self._lines

    @cached_property
    def values(self) -> Sequence[bytes | None]:
        """The lines."""
        return self.block.split(b"\n")[:-1]

    def origins(self, at: Sequence[int]) -> Sequence[Origin]:
        """Where lines stood."""
        file, row = self._file, self._row
        return [Origin("", -1, -1, file, row + place) for place in at]

    def partitions(self) -> Sequence[int]:
        """Give none."""
        return [-1] * self._lines

    def keys(self, at: Sequence[int]) -> Sequence[None]:
        """Give nothing: lines have no keys."""
        return [None] * len(at)

    def headers(self, at: Sequence[int]) -> Sequence[Headers]:
        """Give nothing: lines have no headers."""
        return [()] * len(at)

    def times(self, at: Sequence[int]) -> Sequence[int]:
        """Give nothing: lines do not say when they were made."""
        return [0] * len(at)

    def is_blank(self, at: int) -> bool:
        """Whether there is nothing in a line."""
        return not (self.values[at] or b"").strip()


class Cutter:
    """Cuts what has come into whole lines, and numbers them."""

    def __init__(self, file: str, row: int = 1) -> None:
        self.row = row  # of the next line
        self._file = file
        self._held = bytearray()

    @property
    def held(self) -> int:
        """How many bytes were not given."""
        return len(self._held)

    def add(self, piece: bytes) -> None:
        """Take what came."""
        self._held += piece

    def close(self) -> None:
        """End the last line, if it has begun."""
        if self._held and not self._held.endswith(b"\n"):
            self._held += b"\n"

    def cut(self) -> bytes:
        """Give the whole lines.

        Raises:
            StreamError: a line is too long to be one.
        """
        end = self._held.rfind(b"\n") + 1
        if not end and len(self._held) > LONGEST:
            raise StreamError(f"{self._file}, line {self.row} does not end within {LONGEST >> 20} MB: are these records?")
        block = bytes(self._held[:end])
        del self._held[:end]
        return block

    def batch(self, block: bytes) -> TextBatch:
        """Make a batch of lines that were cut."""
        made = TextBatch(block.removeprefix(BOM) if self.row == 1 else block, self._file, self.row)
        self.row += len(made)
        return made


class StdinSource:
    """Standard input, to its end. What has been read cannot be read again by another worker."""

    def __init__(self, linger: float, file: int | None = None) -> None:
        """Read from a file descriptor; a batch waits `linger` seconds for more."""
        self._file = sys.stdin.fileno() if file is None else file
        self._linger = linger
        self._cutter = Cutter(STDIN)
        self._again: TextBatch | None = None
        self._ended = False

    def take(self) -> TextBatch | None:
        """Give the lines that have come."""
        if self._again:
            batch, self._again = self._again, None
            return batch
        if self._ended:
            return None
        until = time.monotonic() + self._linger
        while self._cutter.held < BLOCK and (left := until - time.monotonic()) > 0:
            if not select.select([self._file], [], [], left)[0]:
                break
            piece = os.read(self._file, BLOCK)
            if not piece:
                self._ended = True
                self._cutter.close()
                break
            self._cutter.add(piece)
        return self._cutter.batch(self._cutter.cut())

    def commit(self, batch: TextBatch, slots: Sequence[Slot]) -> None:
        """Do nothing: a pipe remembers nothing."""

    def recall(self, partitions: Sequence[int]) -> Iterable[Slot]:  # noqa: ARG002 - `Source`
        """Give nothing: the series of a pipe begin with it."""
        return ()

    def rewind(self, batch: TextBatch) -> None:
        """Give these lines again."""
        self._again = batch

    def idle(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def close(self) -> None:
        """Do nothing: standard input is not ours to close."""


class TextSink:
    """Standard output, or a file that grows."""

    def __init__(self, verdicts: str | None, letters_to: str | None) -> None:
        """Open the files; letters that go where the verdicts go stand in their records' places. None: not here.

        Raises:
            OutputError: one cannot be written.
        """
        self._verdicts = Growing(verdicts) if verdicts else None
        self._in_place = letters_to == verdicts
        self._letters = Growing(letters_to) if letters_to and not self._in_place else None
        self._files = [file for file in (self._letters, self._verdicts) if file]

    def add(self, outcome: Outcome) -> None:
        """Write verdicts and letters."""
        if outcome.letters and self._letters:
            self._letters.add(b"".join(dead_letters.line(letter, outcome.batch) + b"\n" for letter in outcome.letters))
        if self._verdicts:
            mixed = outcome.letters and self._in_place
            self._verdicts.add(_in_place(outcome) if mixed else ENCODER.encode_lines(outcome.verdicts))

    def flush(self) -> None:
        """Force all to the disk, if it is one."""
        for file in self._files:
            file.flush()

    def commit(self, claim: object) -> None:
        """Do nothing: what was written is to be seen already."""

    def discard(self) -> None:
        """Do nothing: what was written stays, and comes once more."""

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


class Growing:
    """A file to which lines are added; a line that a sudden end left unfinished is cut off first."""

    def __init__(self, path: str) -> None:
        """Open the file.

        Raises:
            OutputError: it cannot be written.
        """
        self._path = path
        with output_errors(path):
            self._file = sys.stdout.fileno() if path == STDOUT else os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            self._is_regular = path != STDOUT and Path(path).is_file()
            if self._is_regular:
                _cut_unfinished(self._file)

    def add(self, text: bytes) -> None:
        """Write lines.

        Raises:
            OutputError: they cannot be written.
        """
        left = memoryview(text)
        with output_errors(self._path):
            while left:
                left = left[os.write(self._file, left) :]

    def flush(self) -> None:
        """Force all to the disk, if it is one.

        Raises:
            OutputError: the disk fails.
        """
        if self._is_regular:
            with output_errors(self._path):
                os.fdatasync(self._file)

    def close(self) -> None:
        """Close the file; standard output is not ours to close."""
        if self._path != STDOUT:
            os.close(self._file)


def _in_place(outcome: Outcome) -> bytes:
    """Write verdicts and letters in the order of their records."""
    lines = [(at, ENCODER.encode(verdict)) for at, verdict in zip(outcome.at, outcome.verdicts, strict=True)]
    lines += [(letter.at, dead_letters.line(letter, outcome.batch)) for letter in outcome.letters]
    return b"".join(line + b"\n" for _, line in sorted(lines))


def _cut_unfinished(file: int) -> None:
    """Cut a file behind its last line break.

    Raises:
        OutputError: it holds no line, so it is none of ours.
    """
    size = os.fstat(file).st_size
    tail = os.pread(file, LONGEST, max(0, size - LONGEST))
    if not tail or tail.endswith(b"\n"):
        return
    cut = tail.rfind(b"\n") + 1
    if not cut and size > LONGEST:
        raise OutputError("its last line is too long to be one: these are no verdicts")
    os.ftruncate(file, size - len(tail) + cut)
