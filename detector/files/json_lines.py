"""Decoding lines of JSON: a block at once where it is clean, else line by line, so that only bad lines are rejected."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
import numpy as np

from detector.batch import RecordBatch, Scalar
from detector.rejects import Reject, shorten

Decoder = msgspec.json.Decoder[Any]

OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
SCALAR = msgspec.json.Decoder(Scalar)
NULL = msgspec.Raw(b"null")
BAD_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class RecordType(NamedTuple):
    """A type of objects, and what is known of those that are decoded into it."""

    record: type[msgspec.Struct]
    typed: bool
    flat: bool


class LineDecoder:
    """Decodes the wanted keys of one file's objects."""

    def __init__(self, file: str, wanted: Sequence[str], numbers: Collection[str]) -> None:
        self._file = file
        self._wanted = wanted
        self._decoders = [(kind, msgspec.json.Decoder(kind.record)) for kind in record_types(wanted, numbers)]

    def read(self, block: bytes, line: int) -> RecordBatch:
        """Read a block of whole lines, the first being number `line`."""
        return self.read_fast(block, line) or self._read_lines(block, line)

    def read_fast(self, block: bytes, line: int) -> RecordBatch | None:
        """Read a block in which every line is one object of plain values; None for any other."""
        for kind, decoder in self._decoders:
            records = decode_block(block, decoder)
            if records is not None:
                rows = range(line, line + len(records))
                return RecordBatch(Records(records, self._wanted), rows, [], 0, kind.typed, kind.flat)
        return None

    def _read_lines(self, block: bytes, line: int) -> RecordBatch:
        """Read line by line."""
        records, rows, rejects, blank = [], [], [], 0
        for row, text in enumerate(block.split(b"\n")[:-1], line):
            if not text.strip():
                blank += 1
                continue
            record = self.read_line(text, row)
            if isinstance(record, Reject):
                rejects.append(record)
            else:
                records.append(record)
                rows.append(row)
        values = {key: [record[key] for record in records] for key in self._wanted}
        return RecordBatch(values, rows, rejects, blank, typed=False)

    def read_line(self, text: bytes, row: int) -> dict[str, Scalar] | Reject:
        """Read one object, or say why not."""
        try:
            text.decode()
            found = OBJECT.decode(text)
        except BAD_JSON as error:
            return Reject(row, "", show(text), f"a JSON object ({error})", self._file)
        record: dict[str, Scalar] = {}
        for key in self._wanted:
            raw = found.get(key, NULL)
            try:
                record[key] = SCALAR.decode(raw)
            except BAD_JSON:
                return Reject(row, key, show(bytes(raw)), expected(bytes(raw)), self._file)
        return record


def record_types(wanted: Sequence[str], numbers: Collection[str]) -> list[RecordType]:
    """Give the types of objects with the wanted keys, as fields f0, f1, ..., the strictest first.

    There is none if msgspec cannot name such a key.
    """
    typed = {key: float | None if key in numbers else Scalar for key in wanted}
    names = {f"f{place}": key for place, key in enumerate(wanted)}
    types = []
    for strict, flat, kinds in ((True, True, typed), (True, False, typed), (False, False, dict.fromkeys(wanted, Scalar))):
        fields = [(f"f{place}", kind, None) for place, kind in enumerate(kinds.values())]
        with contextlib.suppress(ValueError):
            record = msgspec.defstruct("Record", fields, rename=names, gc=False, forbid_unknown_fields=flat)
            types.append(RecordType(record, strict, flat))
    return types


class Records(Mapping[str, Sequence[Scalar]]):
    """Records by their wanted keys; the columns are made when one is first asked for."""

    def __init__(self, records: Sequence[Any], wanted: Sequence[str]) -> None:
        self._records = records
        self._wanted = wanted

    @cached_property
    def _columns(self) -> dict[str, Sequence[Scalar]]:
        if not self._records:
            return dict.fromkeys(self._wanted, ())
        return dict(zip(self._wanted, zip(*map(msgspec.structs.astuple, self._records), strict=True), strict=True))

    def __getitem__(self, key: str) -> Sequence[Scalar]:
        return self._columns[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._wanted)

    def __len__(self) -> int:
        return len(self._wanted)

    def floats(self) -> np.ndarray:
        """Give records that hold floats and None alone as `float64[records, keys]`, NaN for None."""
        rows = map(msgspec.structs.astuple, self._records)
        shape = len(self._records), len(self._wanted)
        try:
            cells = np.fromiter(itertools.chain.from_iterable(rows), np.float64, shape[0] * shape[1])
        except TypeError:  # None is not taken
            return np.array(list(map(msgspec.structs.astuple, self._records)), np.float64).reshape(shape)
        return cells.reshape(shape)


def decode_block(block: bytes, decoder: Decoder) -> list[Any] | None:
    """Decode a block in which every line is one clean object; None for any other."""
    try:
        if not block.isascii():
            block.decode()  # keys that nobody wants are not looked at
        lines = _objects(block)  # before decoding, which leaves the records in the processor's cache
        records = decoder.decode_lines(block) if lines else None
    except BAD_JSON:
        return None
    # One object after the other is taken too, with or without line breaks: so there must be as many as there are lines.
    return records if records and len(records) == lines else None


def _objects(block: bytes) -> int:
    """Count the lines of a block if each break but the last stands between two objects; 0 if one does not."""
    cells = np.frombuffer(block, np.uint8)  # five times as fast as counting bytes
    ends = np.flatnonzero(cells == ord("\n"))
    inner = ends[:-1]
    before = cells[inner - 1]
    if (returns := before == ord("\r")).any():
        before = np.where(returns, cells[inner - 2], before)
    between = (before == ord("}")).all() and (cells[np.minimum(inner + 1, len(cells) - 1)] == ord("{")).all()
    return len(ends) if between else 0


def all_keys(block: bytes) -> tuple[str, ...]:
    """Give the keys of all objects in the order in which they were first seen."""
    keys: dict[str, None] = {}
    for text in block.split(b"\n"):
        try:
            keys |= dict.fromkeys(OBJECT.decode(text))
        except BAD_JSON:
            continue
    return tuple(keys)


def show(text: bytes) -> str:
    """Give bytes as a person may read them."""
    return shorten(text[:1000].decode("utf-8", "backslashreplace"))


def expected(raw: bytes) -> str:
    """Say what should stand in the place of a value: one digit too many is told apart from a list."""
    return "a number within float64" if raw.lstrip()[:1] in b"-0123456789" else "a number, a text, true, false or null"
