"""Durations on the command line: 90s, 5m, 2h, 1d."""

from __future__ import annotations

import re

from detector.errors import SettingError

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?)\s*([smhd]?)")


def parse_seconds(text: str) -> float:
    """Return the seconds of a duration such as 90s, 5m, 2h or 1d.

    Raises:
        SettingError: the text is not a duration.
    """
    match = DURATION.fullmatch(text.strip())
    if not match:
        raise SettingError(f"--max-gap takes a duration such as 90s, 5m, 2h or 1d; got {text!r}")
    return float(match[1]) * UNITS[match[2]]
