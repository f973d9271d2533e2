"""An answer that is whole before it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Header = tuple[bytes, bytes]

JSON = b"application/json"


class Response(NamedTuple):
    """Body, content type, status and further headers."""

    body: bytes
    content_type: bytes = JSON
    status: int = 200
    headers: Sequence[Header] = ()
