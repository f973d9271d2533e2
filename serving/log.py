"""What the service says: one event a line, as JSON or for a person, and never a value out of a row."""

from __future__ import annotations

import io
import logging
import sys
import traceback
from functools import cache
from typing import Any, Literal, TextIO, cast

import msgspec
import structlog

LogFormat = Literal["auto", "json", "console"]


def configure_logging(form: LogFormat) -> None:
    """Write to standard error; `auto` is for a person where that is a terminal."""
    for_a_person = form == "console" or (form == "auto" and sys.stderr.isatty())
    render: Any = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if for_a_person else _json
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), render],
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _StandardError())),
        cache_logger_on_first_use=True,
    )
    logging.getLogger("uvicorn.error").disabled = True  # what it has to say is said here


class _StandardError(io.TextIOBase):
    """What is standard error when something is written, which is not always what it was at the start."""

    def write(self, text: str) -> int:
        """Write."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush."""
        sys.stderr.flush()


@cache
def log() -> Any:  # noqa: ANN401 - structlog's own type is Any
    """Give the log."""
    return structlog.get_logger()


def error_fields(error: Exception) -> dict[str, Any]:
    """Say what an error is and where it was raised; its message may hold values of a row, and is left out."""
    frames = traceback.extract_tb(error.__traceback__)
    return {"error": type(error).__name__, "where": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]}


def _json(_logger: object, _method: str, event: dict[str, Any]) -> str:
    """Write an event as JSON."""
    return msgspec.json.encode(event, order="sorted").decode()
