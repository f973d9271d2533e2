"""Verdicts with given scores, as monitoring observes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from detector.reasons import Reason, ReasonLists
from detector.rejects import Reject
from detector.scorer import Scorer
from detector.verdicts import Verdicts
from detector.windows import SCORED
from tests.data.make_bundle import KEPT

NOT_SCORED = SCORED + 1


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
) -> Verdicts:
    """Return verdicts; in a series, rows with the score NaN have none."""
    scores = np.asarray(scores, dtype=float)
    return Verdicts(
        rows=np.arange(len(scores)) if rows is None else np.asarray(rows),
        score=scores,
        p_value=1 / (1 + np.maximum(scores, 0)),
        is_anomaly=scores > threshold,
        reasons=ReasonLists(reasons or {}),
        accepted=np.ones(len(scores), dtype=bool),
        rejects=list(rejects),
        infinite=0,
        matrix=np.zeros((len(scores), 1)) if matrix is None else matrix,
        row_status=np.where(np.isnan(scores), NOT_SCORED, SCORED).astype(np.int8) if in_series else None,
    )


def until(condition: Callable[[], bool], timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
