"""Messages that exceed the limit of their topic, and the parts of them that are omitted.

A topic's limit (`max.message.bytes`) applies to what compression leaves, so only the brokers can say which message is too large.
Messages are sent as they are until one is refused; from then on, those that are as large as it are sent without their largest
part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from serving.stream.base import Headers
from serving.stream.dead_letters import OMITTED, PREFIX, without_error_headers
from serving.stream.kafka.producer import Message, content_size

LARGE = 4096  # bytes of value and key; if a smaller message is refused, its headers are too large


class SizeLimit(NamedTuple):
    """The smallest sizes that a topic has refused, in bytes."""

    content: float = float("inf")  # value and key
    headers: float = float("inf")  # headers that came with the record

    def lowered(self, refused: Iterable[int], headers: Iterable[Headers]) -> SizeLimit:
        """Return the limit after messages were refused: `refused` are their sizes, `headers` those of all messages."""
        if large := [size for size in refused if size >= LARGE]:
            return self._replace(content=min(self.content, *large))
        largest = max(map(_record_headers_size, headers), default=0)
        return self._replace(headers=min(self.headers, largest or self.headers))

    def fit(self, message: Message, *, is_verdict: bool) -> tuple[Message, list[str]]:
        """Return a message without the parts that are too large, and their names; a verdict keeps its value."""
        value, key, headers, timestamp, partition = message
        omitted: dict[str, Headers] = {}
        if value is not None and not is_verdict and content_size(value, key) >= self.content:
            omitted["value"], value = _digest("", value), None
        if key is not None and content_size(value, key) >= self.content:
            omitted["key"], key = _digest("key.", key), None
        if _record_headers_size(headers) >= self.headers:
            omitted["headers"], headers = [], [header for header in headers if header[0].startswith(PREFIX)]
        if not omitted:
            return message, []
        described = [(OMITTED, ", ".join(omitted).encode()), *(header for part in omitted.values() for header in part)]
        return (value, key, [*headers, *described], timestamp, partition), list(omitted)


def _record_headers_size(headers: Headers) -> int:
    """Return the size of the headers that came with the record."""
    return sum(len(name.encode()) + len(content or b"") for name, content in without_error_headers(headers))


def _digest(prefix: str, content: bytes) -> Headers:
    """Return headers that identify omitted content."""
    return [
        (f"{PREFIX}{prefix}sha256", hashlib.sha256(content).hexdigest().encode()),
        (f"{PREFIX}{prefix}size", str(len(content)).encode()),
    ]
