"""Whether a run has far more, or far fewer, alarms than normal rows give."""

import numpy as np
import pytest
from scipy.stats import betabinom

from detector.decision import Calibration
from serving.files import promise


@pytest.mark.parametrize(
    ("count", "rows", "a", "b"), [(3, 100, 1, 99), (400, 22_544, 27, 2_664), (4_096, 8_192, 3, 3), (5_000, 5_000, 1, 50)]
)
def test_the_tail_is_that_of_the_beta_binomial(count: int, rows: int, a: int, b: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promise, "TAIL", 1.0)  # no early stop
    assert promise.beta_binomial_tail(count, rows, a, b) == pytest.approx(betabinom.pmf(range(count, rows + 1), rows, a, b).sum())


def test_fresh_normal_rows_keep_the_promise() -> None:
    random = np.random.default_rng(0)
    broken = 0
    for _ in range(300):
        calibration = Calibration(random.normal(size=299))
        decision = calibration.decide(0.01)
        alarms = int((random.normal(size=2_000) > decision.threshold).sum())
        broken += promise.check_promise(calibration.counts(decision.threshold), decision, alarms, 2_000).is_broken
    assert broken <= 2  # 0.3 are expected


@pytest.mark.parametrize("alarms", [0, 400])
def test_too_few_or_too_many_alarms_break_the_promise(alarms: int) -> None:
    calibration = Calibration(np.arange(2_000.0))
    decision = calibration.decide(0.05)
    assert promise.check_promise(calibration.counts(decision.threshold), decision, alarms, 2_000).is_broken
    assert not promise.check_promise(calibration.counts(decision.threshold), decision, 100, 2_000).is_broken
    assert not promise.check_promise(calibration.counts(decision.threshold), decision, 0, 1).is_broken
