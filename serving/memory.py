"""Memory that is free goes back to the system: glibc keeps what lies between blocks in use, some MB for each version."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


@cache
def _trim() -> Any:  # noqa: ANN401 - a function of C
    """Find glibc's function; other libraries of C have none."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def release_free_memory() -> None:
    """Give free memory back; takes some milliseconds."""
    if trim := _trim():
        trim(0)
