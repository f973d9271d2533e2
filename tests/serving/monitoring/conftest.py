"""Verdicts with given scores, as monitoring observes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from detector.rejects import Reject
from detector.row_reasons import Reason
from detector.scorer import NO_REASONS, Scorer, Verdicts
from detector.windows import JUDGED
from serving.model import Judged
from serving.monitoring.rolling import RollingStatistics
from tests.data.make_bundle import KEPT

NOT_SCORED = JUDGED + 1


@pytest.fixture(scope="session")
def scorer() -> Scorer:
    return Scorer.open(KEPT, "cpu")


def verdicts(
    scores: np.ndarray,
    *,
    threshold: float = 1.0,
    rows: Sequence[int] | None = None,
    matrix: np.ndarray | None = None,
    rejects: Sequence[Reject] = (),
    reasons: dict[int, list[Reason]] | None = None,
    in_series: bool = False,
) -> Judged:
    """Return verdicts; in a series, rows with the score NaN have none."""
    scores = np.asarray(scores, dtype=float)
    found = Verdicts(
        score=scores,
        p_value=1 / (1 + np.maximum(scores, 0)),
        is_anomaly=scores > threshold,
        reasons=NO_REASONS,
        accepted=np.ones(len(scores), dtype=bool),
        rejects=[],
        infinite=0,
        fates=np.where(np.isnan(scores), NOT_SCORED, JUDGED).astype(np.int8) if in_series else None,
    )
    numbers = np.arange(len(scores)) if rows is None else np.asarray(rows)
    cells = np.zeros((len(scores), 1)) if matrix is None else matrix
    return Judged(found, numbers, list(rejects), cells, reasons or {})


def add(statistics: RollingStatistics, scored: Judged) -> None:
    statistics.add(scored.verdicts, scored.matrix, scored.rejects)
