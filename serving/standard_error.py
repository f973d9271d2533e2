"""Standard error that cannot fail: what it cannot write is dropped, and the lost lines are counted.

A log whose reader is gone or whose disk is full must change no answer, no exit code and no shutdown. `install` replaces
`sys.stderr` at the start of a process, so that this holds for log lines, warnings and tracebacks alike. In a service or a stream
worker, `write_in_background` lets a thread do the writing, so that a pipe that is full and not read holds up nothing else.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import select
import stat
import sys
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDERR = 2
MAX_QUEUED = 10_000  # writes, mostly of one line each
MAX_AT_ONCE = 256  # writes that the thread joins
FLUSH_TIMEOUT = 1.0  # seconds that the end of a process waits for what is queued


class LostLines:
    """Counts the lines that could not be written. Thread-safe, and safe in a signal handler."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.count = 0

    def add(self, lines: int) -> None:
        """Count lines."""
        with self._lock:
            self.count += lines


lost_lines = LostLines()


class StandardError(io.RawIOBase):
    """Writes to a file descriptor."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._is_torn = False  # whether the last line that was written is incomplete
        self._is_closed = False
        self._queue: SimpleQueue[bytes | threading.Event] | None = None

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._file

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._file)

    def write(self, data: ReadableBuffer, /) -> int:
        """Write or queue all bytes, or drop them."""
        content = bytes(data)
        if self._is_closed or (self._queue is not None and self._queue.qsize() >= MAX_QUEUED):
            lost_lines.add(content.count(b"\n"))
        elif self._queue is not None:
            self._queue.put(content)
        else:
            self._write(content)
        return len(content)

    def write_in_background(self) -> None:
        """Write by a thread from now on, unless to a regular file, which has no reader to wait for."""
        if self._queue is None and not stat.S_ISREG(os.fstat(self._file).st_mode):
            self._queue = SimpleQueue()  # whose `put` may interrupt itself, as a signal handler does
            threading.Thread(target=self._write_queued, args=(self._queue,), name="standard error", daemon=True).start()

    def end_background(self) -> None:
        """Write what is queued, and no longer in the background; drop everything if that takes too long."""
        if self._queue is None:
            return
        written = threading.Event()
        self._queue.put(written)
        self._is_closed = not written.wait(FLUSH_TIMEOUT)
        self._queue = None

    def _write_queued(self, queue: SimpleQueue[bytes | threading.Event]) -> None:
        while True:
            items = [queue.get()]
            while len(items) < MAX_AT_ONCE and not queue.empty():
                items.append(queue.get())
            self._write(b"".join(item for item in items if isinstance(item, bytes)))
            for item in items:
                if isinstance(item, threading.Event):
                    item.set()

    def _write(self, content: bytes) -> None:
        """Write bytes; if only a part of a line could be written, the next write begins on a line of its own."""
        remaining = memoryview(content)
        try:
            if self._is_torn and content:
                os.write(self._file, b"\n")
                self._is_torn = False
            while remaining:
                try:
                    remaining = remaining[os.write(self._file, remaining) :]
                except BlockingIOError:  # somebody who shares the file has made it non-blocking
                    select.select([], [self._file], [])
        except OSError:
            written = content[: len(content) - len(remaining)]
            self._is_torn = self._is_torn or (bool(written) and not written.endswith(b"\n"))
            lost_lines.add(content.count(b"\n", len(written)))


def install() -> None:
    """Replace `sys.stderr` of this process, unless something else has replaced it already."""
    if sys.stderr is not sys.__stderr__:
        return
    if sys.stderr is None:  # closed, as by 2>&-: no other file may get its number
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), STDERR)
    sys.stderr = io.TextIOWrapper(
        StandardError(STDERR),  # a raw file: nothing is buffered that could fail later
        encoding=getattr(sys.__stderr__, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=True,
    )


def write_in_background() -> None:
    """Write standard error by a thread until the process ends, if `install` has replaced it."""
    if (stream := _installed()) is not None:
        stream.write_in_background()
        atexit.register(end_background)


def end_background() -> None:
    """Write what is queued; call it before `os._exit`, which skips what Python does at the end of a process."""
    if (stream := _installed()) is not None:
        stream.end_background()


def _installed() -> StandardError | None:
    stream = getattr(sys.stderr, "buffer", None)
    return stream if isinstance(stream, StandardError) else None
