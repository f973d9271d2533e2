"""Limits on untrusted input: how many rows, how deep and how long the body of a request, or a record of a stream, may be."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one body."""

    max_rows: int
    max_depth: int  # of nested lists and objects
    max_text: int  # characters of one cell
    max_line: int  # bytes of a line of NDJSON


class RecordLimits(msgspec.Struct, frozen=True):
    """What a record may hold, what becomes of one without a value, and how many reasons an anomaly gets."""

    max_record: int  # bytes
    max_depth: int  # of nested lists and objects
    max_text: int  # characters of one cell
    reasons: int = 3
    skip_tombstones: bool = False  # else they are dead letters
