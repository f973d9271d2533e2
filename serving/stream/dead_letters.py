"""Dead letters: the record as received, with the reason in headers (KIP-1034) or in a line of JSON."""

from __future__ import annotations

import base64
import time

import msgspec

from serving.stream.base import DeadLetter, Headers, Origin, PolledBatch

PREFIX = "__residuum.errors."
OMITTED = f"{PREFIX}omitted"  # parts of the record that its dead letter lacks


class _Rejection(msgspec.Struct, frozen=True):
    """Why a record was not scored."""

    reason: str
    column: str
    found: str
    expected: str


class _DeadLetterLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A dead letter in a file; bytes that are not UTF-8 are in base64."""

    rejected: _Rejection
    origin: Origin
    value: str | None = None
    value_base64: str = ""
    key: str | None = None
    key_base64: str = ""


def headers(dead_letter: DeadLetter, batch: PolledBatch) -> list[tuple[str, bytes | None]]:
    """Return the headers of a dead letter: those of the record, then ours."""
    index = [dead_letter.batch_index]
    (origin,), (record_headers,), (timestamp,) = batch.origins(index), batch.headers(index), batch.timestamps(index)
    error_headers = {
        "reason": dead_letter.reason,
        "column": dead_letter.reject.column,
        "found": dead_letter.reject.found,
        "expected": dead_letter.reject.expected,
        "topic": origin.topic or origin.file,
        "partition": str(max(origin.partition, 0)),
        "offset": str(origin.offset if origin.topic else origin.row),
        "timestamp": str(timestamp),
        "time": str(int(time.time() * 1000)),
    }
    return [*without_error_headers(record_headers), *((PREFIX + name, value.encode()) for name, value in error_headers.items())]


def without_error_headers(record_headers: Headers) -> list[tuple[str, bytes | None]]:
    """Return the headers without those that `headers` adds."""
    return [(name, value) for name, value in record_headers if not name.startswith(PREFIX)]


def line(dead_letter: DeadLetter, batch: PolledBatch) -> bytes:
    r"""Return a dead letter as a line of JSON, without `\n`."""
    (origin,), (record_key,) = batch.origins([dead_letter.batch_index]), batch.keys([dead_letter.batch_index])
    reject = dead_letter.reject
    rejection = _Rejection(dead_letter.reason, reject.column, reject.found, reject.expected)
    value, value_base64 = _text_or_base64(batch.values[dead_letter.batch_index])
    key, key_base64 = _text_or_base64(record_key)
    return msgspec.json.encode(_DeadLetterLine(rejection, origin, value, value_base64, key, key_base64))


def _text_or_base64(content: bytes | None) -> tuple[str | None, str]:
    if content is None:
        return None, ""
    try:
        return content.decode(), ""
    except UnicodeDecodeError:
        return None, base64.b64encode(content).decode()
