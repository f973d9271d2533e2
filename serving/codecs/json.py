"""JSON bodies: `[{...}, ...]` or `{"rows": [{...}, ...]}` in, by the rules of an NDJSON file; one object out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from detector.batch import RecordBatch
from detector.files.json_lines import BAD_JSON, LineDecoder, RecordType, key_type, record_types
from detector.files.stream import BOM
from detector.rejects import Reject
from detector.verdicts import Verdicts, record_type
from serving.codecs.base import BodyError, CodecOptions, WholeBody, check_rows
from serving.codecs.column_differences import MAX_NAMES, with_differences
from serving.codecs.json_limits import depth, without_long_texts
from serving.model import ServedModel

ENCODER = msgspec.json.Encoder()
ROWS = '[{"duration": 0, ...}, ...] or {"rows": [...]}'
BIT, OPENED = np.uint8(0x20), np.uint8(ord("{"))  # [ lacks this bit of {

RowVerdict = record_type("RowVerdict", before=[("row", int)])  # the verdict on one row


class RejectReason(msgspec.Struct, frozen=True):
    """Why a row was rejected."""

    column: str
    found: str
    expected: str


class RejectedRow(msgspec.Struct, frozen=True):
    """A row that was not scored."""

    row: int
    rejected: RejectReason


class Totals(msgspec.Struct, kw_only=True, gc=False):
    """How many rows a body had."""

    rows: int = 0  # with a verdict
    anomalies: int = 0
    rejected: int = 0
    not_scored: int | UnsetType = UNSET  # of a series: rows that warm a window up, or lie between two windows ...
    alarms: int | UnsetType = UNSET  # ... and how many alarms began
    unknown_columns: list[str] | UnsetType = UNSET  # keys that no column is read from

    def add(self, verdicts: Verdicts) -> None:
        """Count verdicts."""
        not_scored = verdicts.not_scored
        if not_scored is not None:
            self.not_scored = (self.not_scored or 0) + not_scored
            self.alarms = (self.alarms or 0) + verdicts.alarms
        self.rows += len(verdicts.score) - (not_scored or 0)
        self.anomalies += len(verdicts.is_anomaly.nonzero()[0])
        self.rejected += len(verdicts.rejects)
        if unknown := verdicts.differences.unknown:
            self.unknown_columns = list(dict.fromkeys([*(self.unknown_columns or ()), *unknown]))[:MAX_NAMES]


class Answer(Totals, kw_only=True, gc=False):
    """The verdicts on a body of rows."""

    model: str
    version: int
    threshold: float
    verdicts: list[RowVerdict | RejectedRow]  # type: ignore[valid-type]  # made at run time


class JsonCodec(WholeBody):
    """JSON."""

    content_type = b"application/json"

    def __init__(self, model: ServedModel, options: CodecOptions) -> None:
        self._model = model
        self._options = options
        self._data = b""
        self._decoder: BodyDecoder = model.decoders.get(BodyDecoder) or _new_decoder(model)

    def decode(self, data: bytes, *, final: bool = True) -> RecordBatch:  # noqa: ARG002 - the body is whole
        """Decode a body."""
        limits = self._options.limits
        self._data = data = data.removeprefix(BOM)
        batch = self._decoder.decode(data)
        rows = len(batch.rows) + len(batch.rejects)
        check_rows(rows, limits)
        if not batch.flat:
            check_depth(data, rows, limits.max_depth)
        batch = with_differences(batch, lambda: _rows(data), self._model)
        return without_long_texts(batch, limits.max_text) if len(data) > limits.max_text else batch

    def cells(self, rows: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        """Return the named cells of some rows."""
        records = _rows(self._data)
        return [named_cells(records[row], names) for row in rows]

    def encode(self, verdicts: Verdicts) -> bytes:
        """Return the whole answer."""
        model = self._model
        answer = Answer(
            model=model.name,
            version=model.version,
            threshold=model.threshold,
            verdicts=rows_in_order(verdicts, only_anomalies=self._options.only_anomalies),
        )
        answer.add(verdicts)
        return ENCODER.encode(answer)


def named_cells(record: msgspec.Raw | bytes, names: Sequence[str]) -> dict[str, Any]:
    """Return the named cells of a JSON object."""
    found = msgspec.json.decode(record, type=dict[str, Any])
    return {name: found[name] for name in names if name in found}


def rows_in_order(verdicts: Verdicts, *, only_anomalies: bool) -> list[Any]:
    """Return the verdicts and the rejected rows in the order of their rows."""
    rows = list(verdicts.records(RowVerdict, before=[verdicts.row_numbers]))
    if only_anomalies:
        rows = [row for row, is_anomaly in zip(rows, verdicts.is_anomaly.tolist(), strict=True) if is_anomaly]
    if verdicts.rejects:
        rows += [RejectedRow(each.row, RejectReason(each.column, each.found, each.expected)) for each in verdicts.rejects]
        rows.sort(key=attrgetter("row"))
    return rows


class _RawRows(msgspec.Struct):
    """Rows, each still undecoded."""

    rows: list[msgspec.Raw]


_RAW: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[msgspec.Raw] | _RawRows)


class BodyDecoder:
    """Decodes the requested keys of the rows of a body."""

    def __init__(self, wanted: Sequence[str], numbers: Collection[str]) -> None:
        self._wanted = wanted
        self._numbers = numbers
        self._one = LineDecoder("", wanted, numbers)
        self._decoders: list[tuple[RecordType, msgspec.json.Decoder[Any]]] = []
        for kind in record_types(wanted, numbers):
            self._decoders.append((kind, _decoder_of(kind.record, flat=kind.flat)))
        self._key_type = key_type(wanted) if self._decoders else msgspec.Struct
        self._keys = _decoder_of(self._key_type)

    def decode(self, body: bytes) -> RecordBatch:
        """Decode a body, its rows numbered from 0; a row that is not an object of plain values is rejected.

        Raises:
            BodyError: the body is not JSON, or is no list of rows.
        """
        if not body.isascii():
            _check_utf8(body)
        for kind, decoder in self._decoders:
            try:
                found = decoder.decode(body)
            except BAD_JSON:
                continue
            records = found if type(found) is list else found.rows
            if kind.empty in records and self._holds_foreign(body):
                break
            return kind.batch(records, self._wanted, 0, self._numbers)
        return self._one_by_one(body)

    def _holds_foreign(self, body: bytes) -> bool:
        """Return whether a row of a well-formed body has none of the requested keys."""
        found = self._keys.decode(body)
        return self._key_type() in (found if type(found) is list else found.rows)

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
        return RecordBatch(values, rows, rejects, numbers=self._numbers)


def _new_decoder(model: ServedModel) -> BodyDecoder:
    """Return a decoder that the model keeps for the bodies that follow."""
    decoder = model.decoders[BodyDecoder] = BodyDecoder(model.columns, model.numbers)
    return decoder


def _decoder_of(record: type[msgspec.Struct], *, flat: bool = False) -> msgspec.json.Decoder[Any]:
    """Return a decoder of bodies whose rows are such records; a `flat` one accepts no other keys beside `rows`."""
    rows = list[record]  # type: ignore[valid-type]  # made at run time
    return msgspec.json.Decoder(rows | msgspec.defstruct("Body", [("rows", rows)], forbid_unknown_fields=flat))


def check_depth(body: bytes, rows: int, max_depth: int) -> None:
    """Raise if lists and objects are nested too deep.

    Raises:
        BodyError: they are.
    """
    opened = np.count_nonzero(np.frombuffer(body, np.uint8) | BIT == OPENED)
    if opened <= rows + 2:
        return  # one for each row, and the two that hold them
    found = depth(body)
    if found > max_depth:
        raise BodyError(
            422,
            "depth",
            f"the body nests lists and objects {found} levels deep; the limit is {max_depth}",
            found=f"{found} levels",
            expected=f"{max_depth} levels",
        )


def _rows(body: bytes) -> list[msgspec.Raw]:
    """Return the rows of a body, undecoded."""
    try:
        found = _RAW.decode(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        raise BodyError(422, "shape", f"{message}; expected {ROWS}", path=path.rstrip("`") or "$", expected=ROWS) from error
    except BAD_JSON as error:
        raise BodyError(400, "json", f"the body is not JSON: {error}") from error
    rows: list[msgspec.Raw] = found if isinstance(found, list) else found.rows
    return rows


def _check_utf8(body: bytes) -> None:
    """Raise unless a body is text; msgspec does not check keys that are not requested."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise BodyError(400, "utf8", f"the body is not UTF-8: byte {error.start} is {body[error.start]:#04x}") from error
