"""Windows of interleaved keys: whole, causal, begun anew after gaps, saved and restored."""

import numpy as np
import pytest

from detector.errors import SettingError
from detector.windows import BETWEEN_WINDOWS, SCORED, TOO_OLD, WARMING_UP, Window, Windows

WINDOW = Window(time="ts", key="machine", length=3, max_gap=10.0)


def feed(windows: Windows, *rows: tuple[str, float, float]) -> tuple[list[int], list[list[float]]]:
    keys, times, values = zip(*rows, strict=True)
    cut = windows.update(keys, np.array(times), np.array(values)[:, None])
    return cut.row_status.tolist(), cut.windows[:, :, 0].tolist()


def test_a_window_holds_a_keys_newest_rows_oldest_first() -> None:
    row_status, windows = feed(Windows(WINDOW, 1), *[("a", at, at) for at in range(5)])
    assert row_status == [WARMING_UP, WARMING_UP, SCORED, SCORED, SCORED]
    assert windows == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]


def test_keys_do_not_mix() -> None:
    rows = [(key, at, at + offset) for at in range(4) for key, offset in (("a", 0), ("b", 100))]
    _, windows = feed(Windows(WINDOW, 1), *rows)
    assert windows == [[0, 1, 2], [100, 101, 102], [1, 2, 3], [101, 102, 103]]


def test_a_gap_begins_a_window_anew_and_the_largest_allowed_step_does_not() -> None:
    row_status, windows = feed(Windows(WINDOW, 1), *[("a", time, time) for time in (0, 1, 11, 21.5, 22, 23)])
    assert row_status == [WARMING_UP, WARMING_UP, SCORED, WARMING_UP, WARMING_UP, SCORED]
    assert windows == [[0, 1, 11], [21.5, 22, 23]]


@pytest.mark.parametrize("time", [1.0, 0.5, -3.0])
def test_a_row_whose_time_does_not_rise_leaves_no_trace(time: float) -> None:
    windows = Windows(WINDOW, 1)
    cut = windows.update(["a"] * 4, np.array([0.0, 1.0, time, 2.0]), np.array([[0.0], [1.0], [9.0], [2.0]]))
    assert cut.row_status.tolist() == [WARMING_UP, WARMING_UP, TOO_OLD, SCORED]
    assert cut.too_old == {2: 1.0}
    assert cut.windows[:, :, 0].tolist() == [[0, 1, 2]]


def test_a_stride_leaves_rows_between() -> None:
    window = Window(time="ts", length=3, stride=2, max_gap=10.0)
    row_status, windows = feed(Windows(window, 1), *[("", at, at) for at in range(6)])
    assert row_status == [WARMING_UP, WARMING_UP, SCORED, BETWEEN_WINDOWS, SCORED, BETWEEN_WINDOWS]
    assert windows == [[0, 1, 2], [2, 3, 4]]


@pytest.mark.parametrize("cut", range(8))
def test_a_key_that_is_restored_goes_on_as_if_nothing_had_been(cut: int) -> None:
    rows = [("a", at, at * 1.5) for at in range(8)]
    whole = feed(Windows(WINDOW, 1), *rows)
    before, after = Windows(WINDOW, 1), Windows(WINDOW, 1)
    first = feed(before, *rows[:cut]) if cut else ([], [])
    if cut:
        after.restore("a", before.save("a"))
    second = feed(after, *rows[cut:])
    assert (first[0] + second[0], first[1] + second[1]) == whole


def test_a_state_is_as_large_as_its_rows_and_no_larger() -> None:
    windows = Windows(Window(time="ts", length=60, max_gap=1e9), 8)
    windows.update(["a"] * 500, np.arange(500.0), np.zeros((500, 8)))
    assert 60 * 8 * 8 < len(windows.save("a")) < 60 * 8 * 8 + 64


def test_a_state_of_other_windows_is_refused() -> None:
    windows = Windows(WINDOW, 1)
    feed(windows, *[("a", at, at) for at in range(5)])
    kept = windows.save("a")
    wider, longer = Windows(WINDOW, 2), Windows(Window(time="ts", length=4, max_gap=1.0), 1)
    for other, state in ((wider, kept), (longer, kept), (windows, kept[:-1]), (windows, b""), (windows, b"x" * 200)):
        with pytest.raises(SettingError, match="not the state of a window"):
            other.restore("a", state)


def test_the_key_unheard_of_for_longest_is_forgotten() -> None:
    windows = Windows(WINDOW, 1, max_keys=2)
    rows = [("a", 0, 0), ("b", 0, 0), ("a", 1, 1), ("c", 0, 0), ("a", 2, 2), ("b", 1, 1), ("b", 2, 2)]
    row_status, whole = feed(windows, *rows)
    assert len(windows) == 2
    assert whole == [[0, 1, 2]]
    assert row_status[-1] == WARMING_UP
