"""Recent alarms."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from detector.reasons import Reason
from detector.scorer import Scorer
from serving.monitoring.alarms import MAX_ALARMS, RecentAlarms
from tests.serving.monitoring.conftest import verdicts

REASON = Reason("flow", "1", "2", 0.9)


@pytest.fixture
def model(scorer: Scorer) -> Any:  # noqa: ANN401
    return SimpleNamespace(name="pumps", version=3, scorer=scorer)


def test_an_alarm_holds_the_verdict_and_its_reasons(model: Any) -> None:  # noqa: ANN401
    alarms = RecentAlarms()
    alarms.record(model, verdicts([0.5, 2.0], rows=[7, 9], reasons={1: [REASON]}), "r1")
    (alarm,) = alarms.drain()["pumps"]
    assert (alarm.row, alarm.score, alarm.version, alarm.request_id) == (9, 2.0, 3, "r1")
    assert alarm.reasons == [REASON]
    assert alarm.threshold == model.scorer.manifest.decision.threshold
    assert alarms.drain() == {}


def test_a_request_keeps_its_highest_scores_in_order(model: Any) -> None:  # noqa: ANN401
    scores = np.random.default_rng(0).permutation(np.arange(2.0, 2 * MAX_ALARMS))
    alarms = RecentAlarms()
    alarms.record(model, verdicts(scores, reasons={0: [REASON]}), "r1")
    found = alarms.drain()["pumps"]
    assert [alarm.row for alarm in found] == sorted(np.argsort(scores)[-MAX_ALARMS:].tolist())


def test_a_model_keeps_its_latest_alarms(model: Any) -> None:  # noqa: ANN401
    alarms = RecentAlarms()
    for request in range(MAX_ALARMS + 5):
        alarms.record(model, verdicts([2.0], reasons={0: [REASON]}), str(request))
    assert [alarm.request_id for alarm in alarms.drain()["pumps"]] == [str(request) for request in range(5, MAX_ALARMS + 5)]


def test_an_alarm_without_reasons_is_recorded(model: Any) -> None:  # noqa: ANN401
    alarms = RecentAlarms()
    alarms.record(model, verdicts([2.0, 0.5]), "r1")
    (alarm,) = alarms.drain()["pumps"]
    assert (alarm.row, alarm.reasons) == (0, [])


def test_normal_rows_are_not_recorded(model: Any) -> None:  # noqa: ANN401
    alarms = RecentAlarms()
    alarms.record(model, verdicts([0.5]), "r1")
    assert alarms.drain() == {}
