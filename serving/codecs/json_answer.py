"""Verdicts as JSON: one object a row, in the order of the rows, rejected ones in their places."""

from __future__ import annotations

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from serving.http.models.model import Model
from serving.model import Judged
from serving.verdict_records import Rejected, Row, in_order

ENCODER = msgspec.json.Encoder()


class Answer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer to a body of rows."""

    model: str
    version: int
    threshold: float
    rows: int
    anomalies: int
    rejected: int
    unjudged: int | UnsetType = UNSET  # of a series: rows that warm a window up or stand between two ...
    alarms: int | UnsetType = UNSET  # ... and how many alarms began
    unknown_columns: list[str] | UnsetType = UNSET  # keys of the first rows that no column is read from
    verdicts: list[Row | Rejected]


def answer(model: Model, judged: Judged, *, only_anomalies: bool, unread: list[str] | None = None) -> bytes:
    """Encode the verdicts on a body; `unread` are keys of its rows that the model does not know."""
    verdicts, unjudged = judged.verdicts, judged.unjudged
    return ENCODER.encode(
        Answer(
            model=model.name,
            version=model.version,
            threshold=model.scorer.manifest.decision.threshold,
            rows=len(judged.rows) - (unjudged or 0),
            anomalies=int(np.count_nonzero(verdicts.is_anomaly)),
            rejected=len(judged.rejects),
            unjudged=UNSET if unjudged is None else unjudged,
            alarms=UNSET if unjudged is None else verdicts.alarms,
            unknown_columns=unread or UNSET,
            verdicts=in_order(judged, only_anomalies=only_anomalies),
        )
    )
