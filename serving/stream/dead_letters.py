"""Dead letters: the record as it came, and why it was not judged, as headers (KIP-1034) or as a line of JSON."""

from __future__ import annotations

import base64
import time

import msgspec

from serving.stream.base import Batch, Headers, Letter, Origin

PREFIX = "__residuum.errors."


class _Rejected(msgspec.Struct, frozen=True):
    """Why a record was not judged."""

    reason: str
    column: str
    found: str
    expected: str


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A letter in a file; bytes that are no UTF-8 stand in base64."""

    rejected: _Rejected
    origin: Origin
    value: str | None = None
    value_base64: str = ""
    key: str | None = None
    key_base64: str = ""


def headers(letter: Letter, batch: Batch) -> list[tuple[str, bytes | None]]:
    """Give a letter's headers: the record's own, and ours behind them."""
    at = [letter.at]
    (origin,), (carried,), (made,) = batch.origins(at), batch.headers(at), batch.times(at)
    ours = {
        "reason": letter.why,
        "column": letter.fault.column,
        "found": letter.fault.found,
        "expected": letter.fault.expected,
        "topic": origin.topic or origin.file,
        "partition": str(max(origin.partition, 0)),
        "offset": str(origin.offset if origin.topic else origin.row),
        "timestamp": str(made),
        "time": str(int(time.time() * 1000)),
    }
    return [*own(carried), *((PREFIX + name, value.encode()) for name, value in ours.items())]


def own(some: Headers) -> list[tuple[str, bytes | None]]:
    """Give the headers that are not ours."""
    return [(name, value) for name, value in some if not name.startswith(PREFIX)]


def line(letter: Letter, batch: Batch) -> bytes:
    """Give a letter as a line of JSON, without its break."""
    (origin,), (came_with,) = batch.origins([letter.at]), batch.keys([letter.at])
    fault = letter.fault
    rejected = _Rejected(letter.why, fault.column, fault.found, fault.expected)
    value, value_base64 = _text(batch.values[letter.at])
    key, key_base64 = _text(came_with)
    return msgspec.json.encode(_Line(rejected, origin, value, value_base64, key, key_base64))


def _text(content: bytes | None) -> tuple[str | None, str]:
    """Give bytes as text, or in base64."""
    if content is None:
        return None, ""
    try:
        return content.decode(), ""
    except UnicodeDecodeError:
        return None, base64.b64encode(content).decode()
