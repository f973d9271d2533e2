"""Whether the service accepts work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Readiness:
    """The state of the process.

    A draining one reports that it is not ready. It accepts requests until it is closing, and then finishes those it has begun.
    """

    draining: bool = False
    closing: bool = False
