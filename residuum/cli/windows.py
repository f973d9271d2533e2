"""What the command line says and asks of windows of a series."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from detector.errors import SettingError
from residuum.cli import output

if TYPE_CHECKING:
    from detector.alarm import AlarmRule
    from detector.manifest import Manifest
    from detector.windows import Window

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
SPAN = re.compile(r"([0-9]+(?:\.[0-9]*)?)\s*([smhd]?)")


def seconds_of(text: str) -> float:
    """Read a span of time such as 90s, 5m, 2h or 1d.

    Raises:
        SettingError: it is none.
    """
    found = SPAN.fullmatch(text.strip())
    if not found:
        raise SettingError(f"--max-gap takes a span of time such as 90s, 5m, 2h or 1d; got {text!r}")
    return float(found[1]) * UNITS[found[2]]


def described(window: Window) -> str:
    """Say how rows become windows."""
    of = f" of each {window.key}" if window.key else ""
    stride = f", one at every {window.stride} rows" if window.stride > 1 else ""
    return f"{window.length} rows{of} by {window.time}{stride}; a step above {window.max_gap:g} begins one anew"


def promise(manifest: Manifest, lowered_from: float | None) -> str:
    """Say what the threshold of a series promises, and that it is less than usual if it is."""
    rate, rows = output.percentage(manifest.decision.false_alarm_rate or 0.0), manifest.training.rows
    length = manifest.window.length if manifest.window else 0
    said = (
        f"an alarm begins in at most {rate} of normal stretches of {length} rows, if the future is like these: by "
        f"{output.count(rows.calibration, 'stretch').replace('stretchs', 'stretches')}, each held out"
    )
    return said if lowered_from is None else f"{said}; these are too few for the usual {output.percentage(lowered_from)}"


def ends(alarm: AlarmRule) -> str:
    """Say when an alarm begins and ends."""
    votes = f"{alarm.m} of the newest {alarm.n} scores are" if alarm.n > 1 else "a score is"
    smoothed = f", smoothed over {alarm.smoothing} windows," if alarm.smoothing > 1 else ""
    return (
        f"begins when {votes}{smoothed} above the threshold, ends after {alarm.quiet} in a row at or below "
        f"{alarm.release:g} of it"
    )
