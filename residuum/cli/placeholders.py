"""Placeholders in the names of output files."""

from __future__ import annotations

import datetime as dt
import re

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
ALLOWED = "{date}"


def fill(path: str, today: dt.date | None = None) -> str:
    """Fill in today's local date, such as 2026-11-28, for every `{date}` in the name of an output.

    Raises:
        SettingError: there is another placeholder.
    """
    unknown = next((match[0] for match in PLACEHOLDER.finditer(path) if match[0] != ALLOWED), None)
    if unknown:
        from detector.errors import SettingError

        raise SettingError(f"{path}: {unknown} is no placeholder; the only one is {ALLOWED}, today's date such as 2026-11-28")
    return path.replace(ALLOWED, (today or dt.date.today()).isoformat()) if ALLOWED in path else path  # noqa: DTZ011 - the user's day
