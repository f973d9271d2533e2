"""Checks that the libraries of an optional extra are installed, without importing them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from detector.errors import SettingError

TRAIN = ("torch", "sklearn", "onnx", "onnxscript", "safetensors", "skl2onnx")
SERVE = ("starlette", "uvicorn", "uvloop", "httptools", "httpcore", "openapi_ui_bundles", "prometheus_client", "structlog")
STREAM = ("prometheus_client", "structlog")
KAFKA = ("confluent_kafka",)
PICTURE = ("matplotlib", "sklearn")
IMAGES = ("PIL",)
CLIENT = ("httpx", "h11")


def require_training() -> None:
    """Raise `SettingError` unless the libraries for training are installed."""
    _require(TRAIN, "train")


def require_serving() -> None:
    """Raise `SettingError` unless the libraries of the service are installed."""
    _require(SERVE, "serve")


def require_streaming(*, kafka: bool) -> None:
    """Raise `SettingError` unless the libraries of the stream worker are installed, and Kafka's client if needed."""
    _require(STREAM + (KAFKA if kafka else ()), "kafka")


def require_plotting() -> None:
    """Raise `SettingError` unless the libraries for plots are installed."""
    _require(PICTURE, "picture")


def require_images() -> None:
    """Raise `SettingError` unless the library for images is installed."""
    _require(IMAGES, "images")


def require_client() -> None:
    """Raise `SettingError` unless the libraries of the HTTP client are installed."""
    _require(CLIENT, "client")


def _require(libraries: Iterable[str], extra: str) -> None:
    for library in libraries:
        if find_spec(library) is None:
            raise SettingError(f"this needs {library}, which is not installed: pip install 'residuum[{extra}]'")
