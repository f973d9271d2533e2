"""Summaries of runs."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from detector.batch import ColumnDifferences, TableBatch
from detector.rejects import Reject
from detector.scorer import Scorer
from detector.verdicts import Verdicts
from serving.files.promise import PromiseCheck
from serving.files.summary import MAX_FIRST_REJECTS, ScoringSummary, SummaryBuilder
from tests.data.make_bundle import KEPT
from tests.serving.monitoring.conftest import verdicts


def summary(*scored: Verdicts, blank: int = 0) -> ScoringSummary:
    scorer, builder = Scorer.open(KEPT, "cpu"), SummaryBuilder()
    for each in scored:
        builder.add(
            TableBatch(pl.DataFrame(), np.empty(0, np.int64), [], blank, differences=ColumnDifferences({"note": 1})), each
        )
    return builder.summary(scorer.manifest, scorer.calibration_counts)


def test_batches_add_up() -> None:
    rejects = [Reject(row, "x", "hot", "a number") for row in range(9, 0, -1)]
    found = summary(verdicts(np.array([0.5, 2.0]), rejects=rejects), verdicts(np.array([3.0]), rejects=rejects), blank=2)
    assert (found.rows, found.anomalies, found.rejected, found.blank) == (3, 2, 18, 4)
    assert found.alarm_rate == pytest.approx(2 / 3)
    assert found.unused == ("note",)
    assert [reject.row for reject in found.first_rejects] == [*range(1, 1 + MAX_FIRST_REJECTS)]
    assert found.stretches is None


def test_rows_of_a_series_without_a_score_are_counted_apart() -> None:
    found = summary(verdicts(np.array([np.nan, np.nan, 2.0]), in_series=True))
    assert (found.rows, found.not_scored, found.anomalies) == (1, 2, 1)


def test_without_rows_there_is_no_rate() -> None:
    assert summary().alarm_rate == summary().rows_per_second == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, ""),
        ({"rows": 0, "rejected": 5}, "every row was rejected"),
        ({"rows": 0, "not_scored": 5}, "no series has as many rows as a window"),
        ({"anomalies": 50}, "50 alarms; normal rows have about 1: many anomalies"),
        ({"anomalies": 0}, "0 alarms; normal rows have about 1: drift"),
        ({"alarms": 9, "stretches": 100}, "9 alarms; normal stretches have about 1: anomalies"),
    ],
)
def test_a_warning_says_what_is_wrong(changed: dict[str, int], message: str) -> None:
    is_broken = "anomalies" in changed or "alarms" in changed
    figures = {"rows": 100, "not_scored": 0, "alarms": 0, "stretches": None, "anomalies": 1, "rejected": 0, **changed}
    found = ScoringSummary(
        **figures,
        blank=0,
        infinite=0,
        unused=(),
        seconds=1.0,
        promise=PromiseCheck(0.01, is_broken),
        first_rejects=(),
    )
    assert (message in found.warning) if message else found.warning == ""
