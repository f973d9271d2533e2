"""By which name a request is known: the client's own, its trace (W3C `traceparent`), or a new one."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

_PLAIN = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_TRACE = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


def trace_id(headers: Mapping[bytes, bytes]) -> str:
    """Give the trace that a request belongs to, if it says so."""
    said = headers.get(b"traceparent")
    found = _TRACE.fullmatch(said) if said else None
    return found[1].decode() if found else ""


def request_id(headers: Mapping[bytes, bytes]) -> str:
    """Give the request's name."""
    said = headers.get(b"x-request-id")
    if said and _PLAIN.fullmatch(said):
        return said.decode()
    return trace_id(headers) or f"{random.getrandbits(64):016x}"
