"""The libraries that only training or only serving needs, and how to get them."""

from __future__ import annotations

from importlib.util import find_spec

from detector.errors import SettingError

TRAINING = ("torch", "sklearn", "onnx", "onnxscript")
SERVING = ("starlette", "uvicorn", "uvloop", "httptools", "prometheus_client", "structlog")


def need_training() -> None:
    """Make sure that training's libraries are there, without the seconds that importing them takes.

    Raises:
        SettingError: one is not; the message says how to install it.
    """
    _need(TRAINING, "train")


def need_serving() -> None:
    """Make sure that the service's libraries are there.

    Raises:
        SettingError: one is not; the message says how to install it.
    """
    _need(SERVING, "serve")


def _need(libraries: tuple[str, ...], extra: str) -> None:
    for library in libraries:
        if find_spec(library) is None:
            raise SettingError(f"this needs {library}, which is not installed: pip install 'residuum[{extra}]'")
