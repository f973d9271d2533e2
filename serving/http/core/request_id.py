"""The ID of a request: the client's own, that of its trace (W3C `traceparent`), or a new one."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


def trace_id(headers: Mapping[bytes, bytes]) -> str:
    """Return the ID of the trace that a request belongs to, or nothing."""
    header = headers.get(b"traceparent")
    match = _TRACEPARENT.fullmatch(header) if header else None
    return match[1].decode() if match else ""


def request_id(headers: Mapping[bytes, bytes]) -> str:
    """Return the ID of a request."""
    header = headers.get(b"x-request-id")
    if header and _REQUEST_ID.fullmatch(header):
        return header.decode()
    return trace_id(headers) or f"{random.getrandbits(64):016x}"
