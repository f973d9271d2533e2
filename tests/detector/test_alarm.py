"""When an alarm begins and ends."""

import pytest

from detector.alarm import AlarmRule, AlarmState


def run(alarm: AlarmRule, scores: list[float], state: AlarmState | None = None) -> str:
    state = state or AlarmState()
    verdicts = []
    for score in scores:
        state.step(alarm, 1.0, score)
        verdicts.append("x" if state.is_on else ".")
    return "".join(verdicts)


def test_an_alarm_begins_above_the_threshold_and_not_at_it() -> None:
    assert run(AlarmRule(quiet=1), [0.0, 1.0, 1.01]) == "..x"


def test_an_alarm_ends_after_so_many_quiet_scores_in_a_row() -> None:
    assert run(AlarmRule(release=0.5, quiet=3), [2, 0.5, 0.5, 0.6, 0.5, 0.5, 0.5, 0.9]) == "xxxxxx.."


def test_an_alarm_needs_m_of_the_newest_n() -> None:
    assert run(AlarmRule(m=2, n=3, quiet=1), [2, 0, 0, 2, 0, 2, 0, 0]) == ".....x.."


def test_smoothing_is_an_exponential_mean_of_what_came_before() -> None:
    alarm, state = AlarmRule(smoothing=3), AlarmState()
    assert [state.step(alarm, 1.0, score) for score in (4.0, 0.0, 0.0)] == [4.0, 2.0, 1.0]


@pytest.mark.parametrize("cut", range(6))
def test_a_saved_state_is_restored(cut: int) -> None:
    alarm, scores = AlarmRule(smoothing=2, m=2, n=3, quiet=2), [0.5, 2.0, 3.0, 0.1, 0.2, 0.1]
    state = AlarmState()
    before = run(alarm, scores[:cut], state)
    kept = state.to_bytes()
    assert len(kept) == AlarmState.SIZE
    assert before + run(alarm, scores[cut:], AlarmState.from_bytes(kept)) == run(alarm, scores)
