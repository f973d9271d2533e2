"""Structured log of the service and the stream worker: one event a line, as JSON or for a terminal, without values of rows.

Logging never raises and, in a process of its own, never waits: see `standard_error`.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import traceback
from functools import cache
from typing import Any, Literal, TextIO, cast

import msgspec
import structlog

from serving.standard_error import lost_lines, write_in_background

LogFormat = Literal["auto", "json", "console"]


def configure_logging(log_format: LogFormat) -> None:
    """Log to standard error; `auto` is `console` on a terminal and otherwise `json`."""
    write_in_background()
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    is_console = log_format == "console" or (log_format == "auto" and is_terminal)
    render: Any = structlog.dev.ConsoleRenderer(colors=is_terminal) if is_console else _render_json
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), render],
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _StandardError())),
        cache_logger_on_first_use=True,
    )
    logging.getLogger("uvicorn.error").disabled = True  # the service logs the same events itself


class _StandardError(io.TextIOBase):
    """Whatever `sys.stderr` is at the time of writing; lines that it does not take are counted as lost."""

    def write(self, text: str) -> int:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 - a log that cannot be written changes nothing else
            lost_lines.add(text.count("\n"))
        return len(text)


@cache
def log() -> Any:  # noqa: ANN401 - structlog's own type is Any
    """Return the logger."""
    return structlog.get_logger()


def error_fields(error: BaseException) -> dict[str, Any]:
    """Return the log fields of an error: its type and where it was raised; its message may hold values of a row."""
    frames = traceback.extract_tb(error.__traceback__)
    return {"error": type(error).__name__, "where": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]}


def _render_json(_logger: object, _method: str, event: dict[str, Any]) -> str:
    try:
        return msgspec.json.encode(event, order="sorted").decode()
    except Exception:  # noqa: BLE001 - a value that is no JSON, as a file name that is not UTF-8, must not fail the caller
        return json.dumps(event, default=repr, sort_keys=True, separators=(",", ":"))
