"""The structured log."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator

import pytest
import structlog

from serving.log import configure_logging, error_fields, log


@pytest.fixture(autouse=True)
def fresh_log() -> Iterator[None]:
    """A logger that no earlier configuration is cached in."""
    structlog.reset_defaults()
    log.cache_clear()
    yield
    structlog.reset_defaults()
    log.cache_clear()


def test_an_event_is_one_line_of_json(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logging("auto")
    monkeypatch.setattr(sys, "stderr", errors := io.StringIO())  # whatever standard error is by then
    log().info("taken up", model="pumps\n", version=2)
    (line,) = errors.getvalue().splitlines()
    event = json.loads(line)
    assert (event["event"], event["model"], event["version"], event["level"]) == ("taken up", "pumps\n", 2, "info")
    assert list(event) == sorted(event)


def test_a_console_shows_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", errors := io.StringIO())
    configure_logging("console")
    log().warning("slow", seconds=3)
    assert "slow" in errors.getvalue()
    assert not errors.getvalue().startswith("{")


def test_the_fields_of_an_error_hold_no_message() -> None:
    def fail() -> None:
        raise ValueError("secret cell 4711")

    with pytest.raises(ValueError, match="secret") as caught:
        fail()
    fields = error_fields(caught.value)
    assert fields["error"] == "ValueError"
    assert fields["where"][-1].endswith(" fail")
    assert "4711" not in json.dumps(fields)
