"""An Arrow stream of rows in, an Arrow stream of verdicts out: one for each row, in its order."""

from __future__ import annotations

import io

import numpy as np
import polars as pl

from detector import reasons
from serving.files.layout import told_of_series
from serving.http.core.problem_details import HttpProblem
from serving.model import Judged

STREAM = "application/vnd.apache.arrow.stream"
FAULT = pl.Struct({"column": pl.String, "found": pl.String, "expected": pl.String})


def read(body: bytes) -> pl.DataFrame:
    """Read a stream whole.

    Raises:
        HttpProblem: it is none.
    """
    try:
        return pl.read_ipc_stream(io.BytesIO(body))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise HttpProblem(400, "arrow", "the body is no Arrow stream that can be read") from error


def write(judged: Judged, rows: int, *, only_anomalies: bool) -> bytes:
    """Write the verdicts on so many rows; of a rejected one, score and verdict are null."""
    table = _table(judged, rows)
    if only_anomalies:
        table = table.filter(pl.col("rejected").is_not_null() | pl.col("is_anomaly"))
    body = io.BytesIO()
    table.write_ipc_stream(body)
    return body.getvalue()


def _table(judged: Judged, rows: int) -> pl.DataFrame:
    """Lay the verdicts out."""
    verdicts = judged.verdicts
    scored = pl.DataFrame(
        {
            "row": np.asarray(judged.rows, np.int64),
            "anomaly_score": verdicts.score,
            "p_value": verdicts.p_value,
            "is_anomaly": verdicts.is_anomaly,
        }
    )
    if verdicts.fates is not None:
        scored = told_of_series(scored, verdicts.fates)
    classes = verdicts.classes.series() if verdicts.classes else []
    scored = scored.with_columns(*classes, reasons.as_structs(verdicts.reasons, len(judged.rows)))
    if not judged.rejects:
        return scored.with_columns(pl.lit(None, FAULT).alias("rejected"))
    faults = [{"column": each.column, "found": each.found, "expected": each.expected} for each in judged.rejects]
    rejected = pl.DataFrame(
        {"row": [each.row for each in judged.rejects], "rejected": faults}, schema={"row": pl.Int64, "rejected": FAULT}
    )
    every = pl.DataFrame({"row": np.arange(rows)})
    return every.join(scored, on="row", how="left", maintain_order="left").join(
        rejected, on="row", how="left", maintain_order="left"
    )
