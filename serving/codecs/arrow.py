"""An Arrow stream of rows in, an Arrow stream of verdicts out: one line for each row, in the order of the rows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from detector.batch import ColumnDifferences, TableBatch
from detector.reasons import as_structs
from detector.verdicts import Verdicts
from serving.codecs.base import BodyError, CodecOptions, WholeBody, check_rows
from serving.model import ServedModel

CONTENT_TYPE = "application/vnd.apache.arrow.stream"
REJECTED = pl.Struct({"column": pl.String, "found": pl.String, "expected": pl.String})


class ArrowCodec(WholeBody):
    """The Arrow IPC stream format."""

    content_type = CONTENT_TYPE.encode()

    def __init__(self, model: ServedModel, options: CodecOptions) -> None:
        self._model = model
        self._options = options
        self._frame = pl.DataFrame()

    def decode(self, data: bytes, *, final: bool = True) -> TableBatch:  # noqa: ARG002 - the body is whole
        """Read a stream."""
        try:
            frame = pl.read_ipc_stream(io.BytesIO(data))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
            raise BodyError(400, "arrow", "the body is not a readable Arrow stream") from error
        check_rows(frame.height, self._options.limits)
        self._frame = frame
        unknown = [name for name in frame.columns if name not in self._model.known]
        differences = ColumnDifferences(dict.fromkeys(unknown, frame.height))
        return TableBatch(frame, np.arange(frame.height), [], differences=differences)

    def cells(self, rows: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        """Return the named cells of some rows."""
        return self._frame.select(name for name in names if name in self._frame.columns)[list(rows)].to_dicts()

    def encode(self, verdicts: Verdicts) -> bytes:
        """Write the verdicts; of a rejected row, all fields are null but `row` and `rejected`."""
        table = verdict_table(verdicts)
        if self._options.only_anomalies:
            table = table.filter(pl.col("rejected").is_not_null() | pl.col("is_anomaly"))
        body = io.BytesIO()
        table.write_ipc_stream(body)
        return body.getvalue()


def verdict_table(verdicts: Verdicts) -> pl.DataFrame:
    """Return one line for each row of a batch whose rows are numbered from 0."""
    scored = verdicts.table().with_columns(as_structs(verdicts.reasons.table(), len(verdicts.score)))
    table = verdicts.whole(scored)
    table = table.insert_column(0, pl.Series("row", np.arange(table.height)))
    rejected: list[dict[str, str] | None] = [None] * table.height
    for reject in verdicts.rejects:
        rejected[reject.row] = {"column": reject.column, "found": reject.found, "expected": reject.expected}
    return table.with_columns(pl.Series("rejected", rejected, dtype=REJECTED))
