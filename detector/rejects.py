"""A rejected row: data that cannot be scored, with the reason, on its way to a rejects file or a dead-letter topic."""

from __future__ import annotations

import msgspec

LONGEST_FOUND = 80


class Reject(msgspec.Struct, frozen=True):
    """One row that was not scored: where it stands, what was found there and what was expected.

    `row` counts as its source does (the physical line of a CSV file, the position in a frame); `column` is empty
    when the whole record is at fault.
    """

    row: int
    column: str
    found: str
    expected: str
    file: str = ""

    def __str__(self) -> str:
        """Return the reject in one line."""
        place = f"{self.column}: " if self.column else ""
        return f"{place}found {self.found}, expected {self.expected}"


def shorten(found: object) -> str:
    """Return a value as one short line of text."""
    text = " ".join(str(found).split())
    return text if len(text) <= LONGEST_FOUND else text[: LONGEST_FOUND - 1] + "…"
