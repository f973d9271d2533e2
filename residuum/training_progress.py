"""The progress of training as phases with texts, and as lines on standard error where there is no terminal to draw a bar on."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.fit import FitProgress

FIRST_LINE = 3.0  # seconds: whoever waits has a line within five, and training that is done by then writes none
BETWEEN_LINES = 10.0

Show = Callable[[str, float, float | None, str], None]  # phase, amount done, total if known, text


class TrainingProgress:
    """The callbacks of training, which show its phases."""

    def __init__(self, show: Show, hint: str = "") -> None:
        """Add a hint to the text about the steps."""
        self._show = show
        self._hint = hint
        self._phase = ""

    def on_phase(self, phase: str) -> None:
        """Show that a phase has begun."""
        self._phase = phase
        self._show(phase, 0, None, "")

    def on_image(self, done: int, images: int) -> None:
        """Show how many images were read."""
        self._show("reading", done, images, f"{done:,} of {images:,} images")

    def on_column(self, done: int, columns: int) -> None:
        """Show how many columns were looked at, of which a table may have thousands."""
        self._show("kinds of columns", done, columns, f"{done:,} of {columns:,}")

    def on_progress(self, progress: FitProgress) -> None:
        """Show the steps of the current phase."""
        text = f"step {progress.step:,} of {progress.steps:,}, validation loss {progress.loss:.4g}, best {progress.best:.4g}"
        self._show(self._phase, progress.step, progress.steps, text + self._hint)


@contextlib.contextmanager
def training_progress(*, verbose: bool) -> Iterator[TrainingProgress]:
    """Yield what shows the phases of training as lines, or without `verbose` shows nothing."""
    if not verbose:
        yield TrainingProgress(lambda *_progress: None)
        return
    with progress_lines() as show:
        yield TrainingProgress(show)


@contextlib.contextmanager
def progress_lines() -> Iterator[Show]:
    """Yield a function that shows progress as lines on standard error: within five seconds, and then every ten."""
    began, stopped, newest = time.monotonic(), threading.Event(), ["starting"]

    def show(phase: str, _done: float, _total: float | None, text: str) -> None:
        newest[0] = f"{phase}: {text}" if text else phase

    def write() -> None:
        due = began + FIRST_LINE
        while not stopped.wait(due - time.monotonic()):
            _write_line(f"{newest[0]} ({time.monotonic() - began:.0f} s)")
            due = max(due, time.monotonic() - BETWEEN_LINES) + BETWEEN_LINES

    thread = threading.Thread(target=write, name="training-progress", daemon=True)
    thread.start()
    try:
        yield show
    finally:
        stopped.set()
        thread.join()


def _write_line(line: str) -> None:
    """Write a line to standard error; training goes on if nobody reads it."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
