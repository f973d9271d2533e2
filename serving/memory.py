"""Return of free memory to the system: glibc keeps freed blocks, some MB for each version that was open."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


@cache
def _malloc_trim() -> Any:  # noqa: ANN401 - a C function
    """Return glibc's `malloc_trim`; None with other C libraries."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def release_free_memory() -> None:
    """Return free memory to the system; takes some milliseconds."""
    if trim := _malloc_trim():
        trim(0)
