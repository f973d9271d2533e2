"""NDJSON in and out, in order, in constant memory: the lines that have arrived are scored and answered before more are read.

The status of an HTTP answer is sent before row 1. So a whole answer ends with `{"done": ...}`, and one that a later fault
cuts short with `{"error": ...}` and a dropped connection: no client can take a part for the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from detector.batch import RecordBatch
from detector.files.stream import BOM
from detector.verdicts import Verdicts
from serving.codecs.base import BodyError, CodecOptions
from serving.codecs.column_differences import with_differences
from serving.codecs.json import ENCODER, Totals, check_depth, named_cells, rows_in_order
from serving.codecs.json_limits import without_long_texts
from serving.model import ServedModel


class LastLine(msgspec.Struct):
    """The last line of a whole answer."""

    done: Totals


class NdjsonCodec:
    """NDJSON."""

    content_type = b"application/x-ndjson"
    headers: Sequence[tuple[bytes, bytes]] = ()
    is_stream = True

    def __init__(self, model: ServedModel, options: CodecOptions) -> None:
        self._model = model
        self._options = options
        self._line = 1
        self._incomplete = b""  # the start of a line
        self._totals = Totals()
        self._block, self._first = b"", 1  # the latest lines, and the number of the first of them

    def decode(self, data: bytes, *, final: bool) -> RecordBatch | None:
        """Decode the lines that a piece completes."""
        data = self._incomplete + data
        end = data.rfind(b"\n") + 1
        block, self._incomplete = data[:end], data[end:]
        if final and self._incomplete.strip():
            block, self._incomplete = block + self._incomplete + b"\n", b""
        batch = self._decode(block) if block else None
        max_line = self._options.limits.max_line
        if len(self._incomplete) > max_line and not final:
            raise BodyError(413, "line", f"a line has more than {max_line:,} bytes", expected=f"at most {max_line:,} bytes")
        return batch

    def cells(self, rows: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        """Return the named cells of some lines."""
        lines = self._block.split(b"\n")
        return [named_cells(lines[row - self._first], names) for row in rows]

    def encode(self, verdicts: Verdicts) -> bytes:
        """Return a line for each row."""
        self._totals.add(verdicts)
        return ENCODER.encode_lines(rows_in_order(verdicts, only_anomalies=self._options.only_anomalies))

    def finish(self) -> bytes:
        """Return the last line of a whole answer."""
        return ENCODER.encode(LastLine(self._totals)) + b"\n"

    def _decode(self, block: bytes) -> RecordBatch:
        """Decode whole lines."""
        limits = self._options.limits
        block = block.removeprefix(BOM) if self._line == 1 else block
        self._block, self._first = block, self._line
        batch = self._model.line_decoder.read(block, self._line)
        self._line += len(batch.rows) + len(batch.rejects) + batch.blank
        if not batch.flat:
            check_depth(block, len(batch.rows) + len(batch.rejects), limits.max_depth)
        batch = with_differences(batch, lambda: block.split(b"\n")[:-1], self._model)
        return without_long_texts(batch, limits.max_text) if len(block) > limits.max_text else batch
