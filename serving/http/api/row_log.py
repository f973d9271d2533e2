"""The values of rows in the log: only where the service was started with `--log-rows`, because they may be confidential."""

from __future__ import annotations

from detector.batch import Batch
from serving.log import log
from serving.model import ServedModel


def log_rows(model: ServedModel, batch: Batch, request_id: str) -> None:
    """Log each row as it was received, one event each."""
    columns = batch.columns(model.columns)
    for row, *values in zip(list(batch.rows), *columns.values(), strict=True):
        log().info(
            "row",
            model=model.name,
            version=model.version,
            request_id=request_id,
            row=int(row),
            values=dict(zip(columns, values, strict=True)),
        )
