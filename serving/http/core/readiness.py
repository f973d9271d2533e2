"""Whether the service accepts work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Readiness:
    """The state of the process; a draining one finishes its requests and accepts no more."""

    draining: bool = False
