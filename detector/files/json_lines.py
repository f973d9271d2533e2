"""Decoding lines of JSON: a well-formed block at once, any other block line by line, so that only bad lines are rejected.

An object that lacks a wanted key has a missing cell. One that has none of them is no row of this table, and is rejected.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from detector.batch import RecordBatch, Scalar
from detector.columns import foreign_record
from detector.files.envelopes import describe_envelope
from detector.files.stream import BOM
from detector.rejects import Reject, shorten

Decoder = msgspec.json.Decoder[Any]

OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
SCALAR = msgspec.json.Decoder(Scalar)
NULL = msgspec.Raw(b"null")
BAD_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class RecordType(NamedTuple):
    """A type of records, and what is known about objects that were decoded into it."""

    record: type[msgspec.Struct]
    empty: msgspec.Struct  # what an object with none of the keys, or with nulls only, is decoded into
    typed: bool
    flat: bool
    numeric: bool  # typed, and all columns are numbers

    def batch(
        self, records: Sequence[msgspec.Struct], wanted: Sequence[str], first: int, numbers: Collection[str]
    ) -> RecordBatch:
        """Return records as a batch whose rows are numbered from `first`."""
        rows = range(first, first + len(records))
        return RecordBatch(Records(records, wanted, self.numeric), rows, [], 0, self.typed, self.flat, numbers)


class LineDecoder:
    """Decodes the wanted keys of one file's objects."""

    def __init__(self, file: str, wanted: Sequence[str], numbers: Collection[str], *, accept_foreign: bool = False) -> None:
        """Decode these keys; `accept_foreign` accepts objects without any of them, as rows of missing cells."""
        self._file = file
        self._wanted = wanted
        self._numbers = numbers
        self._accept_foreign = accept_foreign
        self._decoders = [(kind, msgspec.json.Decoder(kind.record)) for kind in record_types(wanted, numbers)]
        self._key_type = key_type(wanted) if self._decoders else msgspec.Struct
        self._keys = msgspec.json.Decoder(self._key_type)

    def read(self, block: bytes, line: int) -> RecordBatch:
        """Decode a block of whole lines, the first being line number `line`."""
        return self.read_fast(block, line) or self._read_lines(block, line)

    def read_fast(self, block: bytes, line: int) -> RecordBatch | None:
        """Decode a block in which every line is one object of scalar values; return None for any other block."""
        for kind, decoder in self._decoders:
            records = decode_block(block, decoder)
            if records is not None:
                if not self._accept_foreign and kind.empty in records and self._holds_foreign(block):
                    return None
                return kind.batch(records, self._wanted, line, self._numbers)
        return None

    def _holds_foreign(self, block: bytes) -> bool:
        """Return whether an object of a well-formed block has none of the wanted keys."""
        return self._key_type() in self._keys.decode_lines(block)

    def _read_lines(self, block: bytes, line: int) -> RecordBatch:
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
        return RecordBatch(values, rows, rejects, blank, numbers=self._numbers)

    def read_line(self, text: bytes, row: int) -> dict[str, Scalar] | Reject:
        """Decode one object; return a reject if it is invalid."""
        text = text.removeprefix(BOM)  # also within a file, as where files were concatenated
        try:
            text.decode()
            decoded = OBJECT.decode(text)
        except BAD_JSON as error:
            return Reject(row, "", show(text), f"a JSON object ({error})", self._file)
        if not self._accept_foreign and not any(key in decoded for key in self._wanted):
            return foreign_record(row, tuple(decoded), self._wanted, self._file, describe_envelope(decoded, self._wanted))
        record: dict[str, Scalar] = {}
        for key in self._wanted:
            raw = decoded.get(key, NULL)
            try:
                record[key] = SCALAR.decode(raw)
            except BAD_JSON:
                return Reject(row, key, show(bytes(raw)), expected(bytes(raw)), self._file)
        return record


def record_types(wanted: Sequence[str], numbers: Collection[str]) -> list[RecordType]:
    """Return types of records with the wanted keys as fields f0, f1, ..., the strictest first.

    The list is empty if msgspec does not support one of the keys.
    """
    typed = {key: float | None if key in numbers else Scalar for key in wanted}
    names = {f"f{index}": key for index, key in enumerate(wanted)}
    types = []
    for strict, flat, kinds in ((True, True, typed), (True, False, typed), (False, False, dict.fromkeys(wanted, Scalar))):
        fields = [(f"f{index}", kind, None) for index, kind in enumerate(kinds.values())]
        with contextlib.suppress(ValueError):
            record = msgspec.defstruct("Record", fields, rename=names, gc=False, forbid_unknown_fields=flat)
            types.append(RecordType(record, record(), strict, flat, strict and set(numbers).issuperset(wanted)))
    return types


def key_type(wanted: Sequence[str]) -> type[msgspec.Struct]:
    """Return a type of records that says which of the wanted keys an object has; msgspec supports all of them."""
    fields = [(f"f{index}", Any | UnsetType, UNSET) for index in range(len(wanted))]
    return msgspec.defstruct("Keys", fields, rename={f"f{index}": key for index, key in enumerate(wanted)}, gc=False)


class Records(Mapping[str, Sequence[Scalar]]):
    """Records as columns by wanted key; the columns are built on first access."""

    def __init__(self, records: Sequence[Any], wanted: Sequence[str], is_numeric: bool = False) -> None:  # noqa: FBT001, FBT002
        self._records = records
        self.wanted = wanted
        self.is_numeric = is_numeric  # every value is a float or None
        self._floats: np.ndarray | None = None
        self._has_missing = False

    @cached_property
    def _columns(self) -> dict[str, Sequence[Scalar]]:
        if not self._records:
            return dict.fromkeys(self.wanted, ())
        return dict(zip(self.wanted, zip(*map(msgspec.structs.astuple, self._records), strict=True), strict=True))

    def __getitem__(self, key: str) -> Sequence[Scalar]:
        return self._columns[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.wanted)

    def __len__(self) -> int:
        return len(self.wanted)

    def have_missing(self, step: int) -> bool:
        """Return whether a value is missing among every `step`-th record, or among all if that is known."""
        if self.is_numeric:
            self.floats()
            return self._has_missing
        return None in itertools.chain.from_iterable(map(msgspec.structs.astuple, self._records[::step]))

    def floats(self) -> np.ndarray:
        """Return records of only floats and None as `float64[records, keys]`, with NaN for None; made at the first call."""
        if self._floats is None:
            rows = map(msgspec.structs.astuple, self._records)
            shape = len(self._records), len(self.wanted)
            try:
                cells = np.fromiter(itertools.chain.from_iterable(rows), np.float64, shape[0] * shape[1])
            except TypeError:  # `fromiter` does not accept None
                cells = np.array(list(map(msgspec.structs.astuple, self._records)), np.float64)
                self._has_missing = True
            self._floats = cells.reshape(shape)
        return self._floats


def decode_block(block: bytes, decoder: Decoder) -> list[Any] | None:
    """Decode a block in which every line is one valid object; return None for any other block."""
    try:
        if not block.isascii():
            block.decode()  # msgspec does not check unwanted keys
        lines = _count_objects(block)  # before decoding, so that the decoded records stay in the cache
        records = decoder.decode_lines(block) if lines else None
    except BAD_JSON:
        return None
    # The decoder also accepts several objects on a line, or an object on several lines: their number must be that of the lines.
    return records if records and len(records) == lines else None


def _count_objects(block: bytes) -> int:
    """Return the number of lines if each inner line break is between two objects; else 0."""
    cells = np.frombuffer(block, np.uint8)  # five times as fast as `bytes.count`
    ends = np.flatnonzero(cells == ord("\n"))
    inner = ends[:-1]
    before = cells[inner - 1]
    if (returns := before == ord("\r")).any():
        before = np.where(returns, cells[inner - 2], before)
    between = (before == ord("}")).all() and (cells[np.minimum(inner + 1, len(cells) - 1)] == ord("{")).all()
    return len(ends) if between else 0


def keys_of(text: bytes | msgspec.Raw) -> tuple[str, ...]:
    """Return the keys of an object; none of anything else."""
    try:
        return tuple(OBJECT.decode(text))
    except BAD_JSON:
        return ()


def all_keys(block: bytes) -> tuple[str, ...]:
    """Return the keys of all objects, in order of first occurrence."""
    keys: dict[str, None] = {}
    for text in block.split(b"\n"):
        keys |= dict.fromkeys(keys_of(text))
    return tuple(keys)


def show(text: bytes) -> str:
    """Return bytes as short printable text."""
    return shorten(text[:1000].decode("utf-8", "backslashreplace"))


def expected(raw: bytes) -> str:
    """Return what was expected in place of an invalid value; a number can only be too large."""
    return "a number within float64" if raw.lstrip()[:1] in b"-0123456789" else "a number, a text, true, false or null"
