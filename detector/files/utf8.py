"""Text from bytes that may not be UTF-8: invalid bytes become lone surrogates, so that nothing is lost."""

from __future__ import annotations

import re

UNDECODED = re.compile("[\udc80-\udcff]")


def decode(data: bytes) -> str:
    """Decode UTF-8, with a lone surrogate for each invalid byte."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """Return the bytes from which `decode` made the text."""
    return text.encode("utf-8", "surrogateescape")


def printable(text: str) -> str:
    """Return the text with escape sequences for invalid bytes."""
    return encode(text).decode("utf-8", "backslashreplace")
