"""Return of free memory."""

import ctypes
from types import SimpleNamespace

import pytest

from serving import memory


def test_free_memory_is_released() -> None:
    memory.release_free_memory()


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    memory._malloc_trim.cache_clear()  # noqa: SLF001
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace())
    memory.release_free_memory()
    memory._malloc_trim.cache_clear()  # noqa: SLF001
