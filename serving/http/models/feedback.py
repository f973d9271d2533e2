"""What people say verdicts were worth: appended to a file beside the versions, counted, and never acted on by itself."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from detector.errors import OutputError

FILE = "feedback.ndjson"
LARGEST = 256 * 2**20  # bytes


class Feedback(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a verdict was worth; request and row name it, as the answer did."""

    request_id: Annotated[str, Meta(min_length=1, max_length=64)]
    row: Annotated[int, Meta(ge=0, le=2**31)]
    verdict: Literal["false_alarm", "missed", "confirmed"]
    note: Annotated[str, Meta(max_length=1000)] = ""


class FeedbackLine(msgspec.Struct, frozen=True):
    """A line of the file."""

    at: dt.datetime
    version: int  # the one that answered when the feedback came
    feedback: Feedback


def append(place: Path, version: int, given: Sequence[Feedback]) -> None:
    """Append to the file of a name; one write, so that lines of several workers do not mix.

    Raises:
        OutputError: it cannot be written, or is full.
    """
    now = dt.datetime.now(dt.UTC)
    text = msgspec.json.Encoder().encode_lines([FeedbackLine(now, version, each) for each in given])
    try:
        file = os.open(place / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            if os.fstat(file).st_size + len(text) > LARGEST:
                raise OutputError(f"{place / FILE} is full: move it away, and the next feedback begins another")
            os.write(file, text)
        finally:
            os.close(file)
    except OSError as error:
        raise OutputError(f"cannot write {place / FILE}: {error.strerror}") from error
