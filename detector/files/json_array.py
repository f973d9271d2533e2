"""JSON files: a list of objects, as lines that the reader of NDJSON takes; the row of an object is its place in the list."""

from __future__ import annotations

import msgspec

from detector.errors import TableError
from detector.files.json_lines import BAD_JSON
from detector.files.stream import BOM, ByteStream

PIECE = 16 << 20
LISTS = ("rows", "data", "records")  # keys under which a JSON object may hold the list
EXPECTED = "a list of objects, [{...}, ...], is needed (pandas: to_json(path, orient='records'))"


def to_lines(stream: ByteStream) -> None:
    """Convert a stream of JSON to NDJSON in place; a file that is NDJSON stays as it is.

    Raises:
        TableError: it is neither a list of objects nor NDJSON.
    """
    pieces = []
    while piece := stream.read(PIECE):
        pieces.append(piece)
    content = b"".join(pieces).removeprefix(BOM).strip()
    if not content:
        raise TableError(f"{stream.name} is empty: {EXPECTED}")
    rows = _rows(stream.name, content)
    stream.unread(content if rows is None else b"".join(b" ".join(bytes(row).split(b"\n")) + b"\n" for row in rows))


def _rows(name: str, content: bytes) -> list[msgspec.Raw] | None:
    """Return the objects of a list; None if the content is NDJSON."""
    try:
        if content.startswith(b"["):
            return msgspec.json.decode(content, type=list[msgspec.Raw])
        found = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except BAD_JSON as error:
        first, newline, _ = content.partition(b"\n")
        if newline and (first.startswith(b"{") or _is_json(first)):
            return None
        raise TableError(f"{name} is no JSON ({error}): {EXPECTED}") from error
    lists = [key for key in LISTS if bytes(found.get(key, msgspec.Raw(b""))).lstrip().startswith(b"[")]
    if not lists:
        if any(bytes(value).lstrip()[:1] in b"[{" for value in found.values()):
            raise TableError(f"{name} is a JSON object of columns: {EXPECTED}")
        return None
    return msgspec.json.decode(found[lists[0]], type=list[msgspec.Raw])


def _is_json(text: bytes) -> bool:
    """Return whether a text is one whole JSON value."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except BAD_JSON:
        return False
    return True
