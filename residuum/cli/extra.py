"""The libraries that only training needs, and how to get them."""

from __future__ import annotations

from importlib.util import find_spec

from detector.errors import SettingError

LIBRARIES = ("torch", "sklearn", "onnx", "onnxscript")


def need_training() -> None:
    """Make sure that training's libraries are there, without the seconds that importing them takes.

    Raises:
        SettingError: one is not; the message says how to install it.
    """
    for library in LIBRARIES:
        if find_spec(library) is None:
            raise SettingError(f"this needs {library}, which is not installed: pip install 'residuum[train]'")
