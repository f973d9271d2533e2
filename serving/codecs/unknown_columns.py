"""Keys of rows that no column is read from, most likely misspelt ones; looked for only in bodies that hold other keys.

Only the first rows are searched, and only the start of a body, so the cost does not grow with the body.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Iterable, Iterator

from detector.files.json_lines import all_keys

MAX_NAMES = 10
MAX_LENGTH = 80  # characters of a name
MAX_ROWS = 10  # that are searched
MAX_BYTES = 64 * 1024  # of a body that are searched

_FIRST_ROW = re.compile(r'\s*(\{\s*"rows"\s*:\s*)?\[\s*')
_BETWEEN = re.compile(r"\s*,\s*")


def in_lines(block: bytes, known: Collection[str]) -> list[str]:
    """Return the unknown keys of the first lines."""
    lines = block[:MAX_BYTES].split(b"\n", MAX_ROWS)[:MAX_ROWS]
    return _unknown(all_keys(b"\n".join(lines)), known)


def in_body(body: bytes, known: Collection[str]) -> list[str]:
    """Return the unknown keys of the first rows of a JSON body."""
    rows = itertools.islice(_rows(body[:MAX_BYTES].decode("utf-8", "ignore")), MAX_ROWS)
    return _unknown(itertools.chain.from_iterable(rows), known)


def _unknown(keys: Iterable[str], known: Collection[str]) -> list[str]:
    return [
        key if len(key) <= MAX_LENGTH else f"{key[: MAX_LENGTH - 1]}…"
        for key in itertools.islice((key for key in dict.fromkeys(keys) if key not in known), MAX_NAMES)
    ]


def _rows(text: str) -> Iterator[dict[str, object]]:
    """Yield the rows of a list, up to one that is not an object or not whole."""
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
