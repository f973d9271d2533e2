"""Which keys of rows no column is read from: misspelt ones, most likely. Asked only of bodies that hold more than columns.

The first rows tell, and of a body its beginning: what is told stays short, and costs little, however large the body is.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Iterable, Iterator

from detector.files.json_lines import all_keys

MOST = 10  # names that are told ...
LONGEST = 80  # ... as they are, blanks and all, or the first so many characters of them
ROWS = 10  # that are looked at
LOOKED_AT = 64 * 1024  # bytes of a body

_FIRST_ROW = re.compile(r'\s*(\{\s*"rows"\s*:\s*)?\[\s*')
_BETWEEN = re.compile(r"\s*,\s*")


def in_lines(block: bytes, known: Collection[str]) -> list[str]:
    """Give the keys of the first lines that are not known."""
    lines = block[:LOOKED_AT].split(b"\n", ROWS)[:ROWS]
    return _told(all_keys(b"\n".join(lines)), known)


def in_body(body: bytes, known: Collection[str]) -> list[str]:
    """Give the keys of the first rows of a JSON body that are not known."""
    rows = itertools.islice(_rows(body[:LOOKED_AT].decode("utf-8", "ignore")), ROWS)
    return _told(itertools.chain.from_iterable(rows), known)


def _told(keys: Iterable[str], known: Collection[str]) -> list[str]:
    return [
        key if len(key) <= LONGEST else f"{key[: LONGEST - 1]}…"
        for key in itertools.islice((key for key in dict.fromkeys(keys) if key not in known), MOST)
    ]


def _rows(text: str) -> Iterator[dict[str, object]]:
    """Give the rows of a list, up to one that is none or not whole."""
    start, read = _FIRST_ROW.match(text), json.JSONDecoder().raw_decode
    while start:
        try:
            row, end = read(text, start.end())
        except (ValueError, RecursionError):
            return
        if not isinstance(row, dict):
            return
        yield row
        start = _BETWEEN.match(text, end)
