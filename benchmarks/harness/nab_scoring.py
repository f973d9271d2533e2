"""The scoring of the Numenta Anomaly Benchmark, from its definition (Lavin & Ahmad 2015, section II; its repository's README).

A labelled window counts as found by any detection inside, and an earlier one is worth more: at relative position y (-1 at the
first row of the window, 0 just after the last one) a detection is worth s(y) = 2 / (1 + exp(5 y)) - 1, divided by s(-1). Only
the best detection of a window counts. A detection outside costs -s(y) at y window widths after the last window, which is 1 from
three widths on and where there was no window before. A missed window costs too. A profile weights the three; the sum is scaled
so that no detections at all score 0, and exactly one detection at the first row of each window scores 100. The first 15 % of a
file, of 5,000 rows at most, are the probationary period: for training only, not scored. One threshold serves all files, the one
with the best score.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

PROBATION = 0.15
MAX_PROBATION = 750  # rows: 15 % of 5,000
STEEPNESS = 5.0
FAR = 3.0  # window widths after a window


class Profile(NamedTuple):
    """The weights of an application."""

    found: float
    false: float
    missed: float


PROFILES = {"standard": Profile(1.0, 0.11, 1.0), "low FP": Profile(1.0, 0.22, 1.0), "low FN": Profile(1.0, 0.11, 2.0)}


class LabelledSeries(NamedTuple):
    """A series and its labelled windows."""

    name: str
    frame: pl.DataFrame  # text, as CSV files are read
    windows: list[tuple[int, int]]  # first and last row of each


class RowValues(NamedTuple):
    """The value of a detection at each row of a file."""

    window: np.ndarray  # int64[rows], the number of the window around the row; -1 outside
    worth: np.ndarray  # float64[rows], from -1 to 1, before weighting
    is_scored: np.ndarray  # bool[rows], false in the probationary period

    @property
    def windows(self) -> list[int]:
        """The numbers of the windows outside the probationary period."""
        return [int(window) for window in np.unique(self.window[self.is_scored]) if window >= 0]


class NabScore(NamedTuple):
    """The score of a set of detections."""

    score: float  # at most 100; negative if worse than no detections at all
    threshold: float
    found: int  # windows
    false: int  # detections outside


def read(folder: Path) -> list[LabelledSeries]:
    """Read the files labelled by the `combined_windows.json` of a folder."""
    files = []
    for name, labelled in json.loads((folder / "combined_windows.json").read_text()).items():
        frame = pl.read_csv(folder / name, infer_schema_length=0)
        row_of = {moment: row for row, moment in enumerate(frame["timestamp"])}
        windows = [(row_of[first.split(".")[0]], row_of[last.split(".")[0]]) for first, last in labelled]
        files.append(LabelledSeries(Path(name).stem, frame, windows))
    return files


def probation(rows: int) -> int:
    """Return the length of the probationary period of a file."""
    return min(int(PROBATION * rows), MAX_PROBATION)


def row_values(rows: int, windows: Sequence[tuple[int, int]]) -> RowValues:
    """Return the value of a detection at each row; `windows` are first and last rows, in order."""
    window, worth = np.full(rows, -1), np.full(rows, -1.0)
    for number, (first, last) in enumerate(windows):
        after = np.arange(last + 1, rows)
        distance = (after - last) / max(last - first, 1)
        worth[after] = np.where(distance < FAR, _worth(distance), -1.0)
        inside = np.arange(first, last + 1)
        worth[inside] = _worth((inside - last - 1) / (last - first + 1)) / _worth(np.array(-1.0))
        window[inside] = number
    return RowValues(window, worth, np.arange(rows) >= probation(rows))


def _worth(position: np.ndarray) -> np.ndarray:
    """Return the value of a detection at a relative position, s(y)."""
    worth: np.ndarray = 2.0 / (1.0 + np.exp(STEEPNESS * np.minimum(position, FAR))) - 1.0
    return worth


def score_detections(
    marks: Sequence[RowValues], detected: Sequence[np.ndarray], profile: Profile, threshold: float = np.nan
) -> NabScore:
    """Return the score of detections, `bool[rows]` for each file."""
    gain, found, false, windows = 0.0, 0, 0, 0
    for mark, detections in zip(marks, detected, strict=True):
        scored = detections & mark.is_scored
        outside = scored & (mark.window < 0)
        gain += profile.false * float(mark.worth[outside].sum())
        false += int(outside.sum())
        for window in mark.windows:
            inside = mark.worth[scored & (mark.window == window)]
            gain += profile.found * float(inside.max()) if len(inside) else -profile.missed
            found += len(inside) > 0
            windows += 1
    return NabScore(_normalised(gain, windows, profile), threshold, found, false)


def best_score(marks: Sequence[RowValues], scores: Sequence[np.ndarray], profile: Profile) -> NabScore:
    """Return the score at the best threshold; a row is detected if its score reaches it, NaN never does."""
    valid = [mark.is_scored & np.isfinite(score) for mark, score in zip(marks, scores, strict=True)]
    flat = np.concatenate([score[rows] for score, rows in zip(scores, valid, strict=True)])
    worth = np.concatenate([mark.worth[rows] for mark, rows in zip(marks, valid, strict=True)])
    window = np.concatenate([np.where(mark.window < 0, -1, mark.window + 1000 * file) for file, mark in enumerate(marks)])
    window = window[np.concatenate(valid)]
    order = np.argsort(-flat, kind="stable")
    flat, worth, window = flat[order], worth[order], window[order]
    numbers = [number + 1000 * file for file, mark in enumerate(marks) for number in mark.windows]
    gain = np.cumsum(np.where(window < 0, profile.false * worth, 0.0))
    for number in numbers:
        gain += np.maximum.accumulate(np.where(window == number, profile.found * worth, -profile.missed))
    last = np.append(np.diff(flat) != 0, True)  # equal scores are detected together
    best_row = int(np.argmax(np.where(last, gain, -np.inf))) if len(flat) else -1
    threshold = float(flat[best_row]) if best_row >= 0 and gain[best_row] > -profile.missed * len(numbers) else np.inf
    return score_detections(marks, [score >= threshold for score in scores], profile, threshold)


def _normalised(gain: float, windows: int, profile: Profile) -> float:
    """Return a sum scaled to 0 (no detections) and 100 (perfect detections)."""
    return 100.0 * (gain + profile.missed * windows) / (windows * (profile.found + profile.missed))
