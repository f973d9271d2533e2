"""Feedback on verdicts: appended to a file beside the versions and counted; nothing acts on it by itself."""

from __future__ import annotations

import datetime as dt
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from detector.errors import OutputError

FILE = "feedback.ndjson"
MAX_FILE_BYTES = 256 * 2**20


class Feedback(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Feedback on one verdict, which the response identified by request ID and row."""

    request_id: Annotated[str, Meta(min_length=1, max_length=64)]
    row: Annotated[int, Meta(ge=0, le=2**31)]
    verdict: Literal["false_alarm", "missed", "confirmed"]
    note: Annotated[str, Meta(max_length=1000)] | None = None


FeedbackBody = Feedback | Annotated[list[Feedback], Meta(max_length=1000)]


class FeedbackLine(msgspec.Struct, frozen=True):
    """A line of the file."""

    at: dt.datetime
    version: int  # that answered when the feedback arrived
    feedback: Feedback


def append(folder: Path, version: int, feedback: Sequence[Feedback]) -> None:
    """Append to the file of a model, in one write, so that lines of several workers do not mix.

    Raises:
        OutputError: the file cannot be written, or is full.
    """
    now = dt.datetime.now(dt.UTC)
    lines = msgspec.json.Encoder().encode_lines([FeedbackLine(now, version, item) for item in feedback])
    path = folder / FILE
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(file).st_size
            if size + len(lines) > MAX_FILE_BYTES:
                raise OutputError(f"{path} is full: move it away, and the next feedback starts a new file")
            if os.write(file, lines) < len(lines):  # the disk is full
                os.ftruncate(file, size)
                raise OutputError(f"cannot write {path}: {os.strerror(errno.ENOSPC)}")
        finally:
            os.close(file)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
