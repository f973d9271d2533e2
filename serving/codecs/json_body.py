"""JSON bodies: `[{...}, ...]` or `{"rows": [{...}, ...]}` to rows, by the rules of an NDJSON file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import numpy as np

from detector.batch import RecordBatch
from detector.files.json_lines import BAD_JSON, LineDecoder, Records, RecordType, record_types
from detector.rejects import Reject
from serving.codecs.json_limits import depth
from serving.http.core.problem_details import HttpProblem

ROWS = '[{"duration": 0, ...}, ...] or {"rows": [...]}'


BIT, OPENED = np.uint8(0x20), np.uint8(ord("{"))  # [ lacks this bit of {


class _Raw(msgspec.Struct):
    """Rows, each still undecoded."""

    rows: list[msgspec.Raw]


_RAW: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[msgspec.Raw] | _Raw)


class BodyDecoder:
    """Decodes the wanted keys of the rows of a body."""

    def __init__(self, wanted: Sequence[str], numbers: Collection[str]) -> None:
        self._wanted = wanted
        self._one = LineDecoder("", wanted, numbers)
        self._decoders: list[tuple[RecordType, msgspec.json.Decoder[Any]]] = []
        for kind in record_types(wanted, numbers):
            rows = list[kind.record]  # type: ignore[name-defined]  # made at run time
            body = msgspec.defstruct("Body", [("rows", rows)], forbid_unknown_fields=kind.flat)
            self._decoders.append((kind, msgspec.json.Decoder(rows | body)))

    def decode(self, body: bytes) -> RecordBatch:
        """Decode a body, its rows numbered from 0; a row that is no object of plain values is rejected.

        Raises:
            HttpProblem: the body is not JSON, or holds no rows.
        """
        if not body.isascii():
            _check_utf8(body)
        for kind, decoder in self._decoders:
            try:
                found = decoder.decode(body)
            except BAD_JSON:
                continue
            records = found if type(found) is list else found.rows
            return RecordBatch(Records(records, self._wanted), range(len(records)), [], 0, kind.typed, kind.flat)
        return self._one_by_one(body)

    def _one_by_one(self, body: bytes) -> RecordBatch:
        """Decode row by row."""
        rows, records, rejects = [], [], []
        for row, text in enumerate(_rows(body)):
            record = self._one.read_line(bytes(text), row)
            if isinstance(record, Reject):
                rejects.append(record)
            else:
                rows.append(row)
                records.append(record)
        values = {key: [record[key] for record in records] for key in self._wanted}
        return RecordBatch(values, rows, rejects, 0, typed=False)


def check_depth(body: bytes, rows: int, most: int) -> None:
    """Refuse lists and objects that are too deep inside each other.

    Raises:
        HttpProblem: they are.
    """
    opened = np.count_nonzero(np.frombuffer(body, np.uint8) | BIT == OPENED)
    if opened <= rows + 2:
        return  # one for each row, and those around them
    found = depth(body)
    if found > most:
        raise HttpProblem(
            422,
            "depth",
            f"the body nests {found} deep; at most {most} are read",
            found=f"{found} levels",
            expected=f"{most} levels",
        )


def _rows(body: bytes) -> list[msgspec.Raw]:
    """Cut a body into its rows."""
    try:
        found = _RAW.decode(body)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `")
        raise HttpProblem(422, "shape", f"{said}; expected {ROWS}", path=path.rstrip("`") or "$", expected=ROWS) from error
    except BAD_JSON as error:
        raise HttpProblem(400, "json", f"the body is not JSON: {error}") from error
    rows: list[msgspec.Raw] = found if isinstance(found, list) else found.rows
    return rows


def _check_utf8(body: bytes) -> None:
    """Refuse bytes that are no text; msgspec does not look at keys that nobody wants."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise HttpProblem(400, "utf8", f"the body is not UTF-8: byte {error.start} is {body[error.start]:#04x}") from error
