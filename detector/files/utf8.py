"""Text out of bytes of which some may be no UTF-8: those are kept as lone surrogates, so that nothing is lost."""

from __future__ import annotations

import re

UNDECODED = re.compile("[\udc80-\udcff]")


def decode(data: bytes) -> str:
    """Decode what can be decoded."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """Give exactly the bytes again."""
    return text.encode("utf-8", "surrogateescape")


def printable(text: str) -> str:
    """Write undecoded bytes as a person reads them, such as that of a Latin-1 é."""
    return encode(text).decode("utf-8", "backslashreplace")
