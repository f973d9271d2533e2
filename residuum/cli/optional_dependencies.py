"""The libraries that only some verbs need, and how to get them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from detector.errors import SettingError

TRAINING = ("torch", "sklearn", "onnx", "onnxscript", "safetensors", "skl2onnx")
SERVING = ("starlette", "uvicorn", "uvloop", "httptools", "httpcore", "prometheus_client", "structlog")
STREAMING = ("prometheus_client", "structlog")
KAFKA = ("confluent_kafka",)
DRAWING = ("matplotlib", "sklearn")
IMAGES = ("PIL",)
CLIENT = ("httpx", "h11")


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


def need_streaming(*, kafka: bool) -> None:
    """Make sure that the stream worker's libraries are there, Kafka's where there is a topic.

    Raises:
        SettingError: one is not; the message says how to install it.
    """
    _need(STREAMING + (KAFKA if kafka else ()), "kafka")


def need_drawing() -> None:
    """Make sure that the libraries for pictures are there.

    Raises:
        SettingError: one is not; the message says how to install it.
    """
    _need(DRAWING, "picture")


def need_images() -> None:
    """Make sure that the library for images is there.

    Raises:
        SettingError: it is not; the message says how to install it.
    """
    _need(IMAGES, "images")


def require_client() -> None:
    """Raise unless the HTTP client's libraries are installed.

    Raises:
        SettingError: one is not; the message says how to install it.
    """
    _need(CLIENT, "client")


def _need(libraries: Iterable[str], extra: str) -> None:
    """Make sure that libraries are there."""
    for library in libraries:
        if find_spec(library) is None:
            raise SettingError(f"this needs {library}, which is not installed: pip install 'residuum[{extra}]'")
