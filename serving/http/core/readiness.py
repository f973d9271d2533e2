"""Whether the service takes work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Readiness:
    """What the process does just now."""

    draining: bool = False
