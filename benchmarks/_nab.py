"""The scoring of the Numenta Anomaly Benchmark, from its definition (Lavin & Ahmad 2015, section II; its repository's README).

A labelled window is found by any detection in it, and the earlier the better: at the relative position y (-1 at the window's
first row, 0 behind its last one) a detection is worth s(y) = 2 / (1 + exp(5 y)) - 1, over s(-1). Only the best one of a window
counts. A detection outside costs: -s(y) at y widths behind the last window, which is 1 at three widths or where there was none.
A window without a detection costs too. A profile weighs the three; the sum is put between that of a detector that says nothing
(0) and that of one which detects each window at its first row and nothing else (100). The first 15 % of a file, of 5,000 rows
at most, are probation: they teach, and are not judged. One threshold serves all files, the one that scores best.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

PROBATION = 0.15
LONGEST_PROBATION = 750  # rows: 15 % of 5,000
STEEPNESS = 5.0
FAR = 3.0  # widths behind a window


class Profile(NamedTuple):
    """What an application gains and loses."""

    found: float
    false: float
    missed: float


PROFILES = {"standard": Profile(1.0, 0.11, 1.0), "low FP": Profile(1.0, 0.22, 1.0), "low FN": Profile(1.0, 0.11, 2.0)}


class File(NamedTuple):
    """A series and its labels."""

    name: str
    frame: pl.DataFrame  # text, as the door for files reads it
    windows: list[tuple[int, int]]  # first and last row of each


class Marked(NamedTuple):
    """The rows of a file, by what a detection there is worth."""

    window: np.ndarray  # int64[rows], the number of the window that a row lies in; -1 outside
    worth: np.ndarray  # float64[rows], from -1 to 1, before a profile weighs it
    judged: np.ndarray  # bool[rows]

    @property
    def windows(self) -> list[int]:
        """The windows that can be found."""
        return [int(window) for window in np.unique(self.window[self.judged]) if window >= 0]


class Best(NamedTuple):
    """What detections are worth."""

    score: float  # 0 to 100, below 0 for what is worse than to say nothing
    threshold: float
    found: int  # windows
    false: int  # detections outside


def read(folder: Path) -> list[File]:
    """Read the files that a folder's `combined_windows.json` labels."""
    files = []
    for name, labelled in json.loads((folder / "combined_windows.json").read_text()).items():
        frame = pl.read_csv(folder / name, infer_schema_length=0)
        place = {moment: row for row, moment in enumerate(frame["timestamp"])}
        windows = [(place[first.split(".")[0]], place[last.split(".")[0]]) for first, last in labelled]
        files.append(File(Path(name).stem, frame, windows))
    return files


def probation(rows: int) -> int:
    """Give how many rows teach."""
    return min(int(PROBATION * rows), LONGEST_PROBATION)


def marked(rows: int, windows: Sequence[tuple[int, int]]) -> Marked:
    """Mark a file's rows; `windows` are the first and the last row of each, in order."""
    window, worth = np.full(rows, -1), np.full(rows, -1.0)
    for number, (first, last) in enumerate(windows):
        behind = np.arange(last + 1, rows)
        away = (behind - last) / max(last - first, 1)
        worth[behind] = np.where(away < FAR, _worth(away), -1.0)
        inside = np.arange(first, last + 1)
        worth[inside] = _worth((inside - last - 1) / (last - first + 1)) / _worth(np.array(-1.0))
        window[inside] = number
    return Marked(window, worth, np.arange(rows) >= probation(rows))


def _worth(position: np.ndarray) -> np.ndarray:
    """Give what a detection at a relative position is worth."""
    worth: np.ndarray = 2.0 / (1.0 + np.exp(STEEPNESS * np.minimum(position, FAR))) - 1.0
    return worth


def judged(marks: Sequence[Marked], detected: Sequence[np.ndarray], profile: Profile, threshold: float = np.nan) -> Best:
    """Score detections, `bool[rows]` of each file."""
    gain, found, false, windows = 0.0, 0, 0, 0
    for mark, told in zip(marks, detected, strict=True):
        there = told & mark.judged
        outside = there & (mark.window < 0)
        gain += profile.false * float(mark.worth[outside].sum())
        false += int(outside.sum())
        for window in mark.windows:
            inside = mark.worth[there & (mark.window == window)]
            gain += profile.found * float(inside.max()) if len(inside) else -profile.missed
            found += len(inside) > 0
            windows += 1
    return Best(_normalised(gain, windows, profile), threshold, found, false)


def best(marks: Sequence[Marked], scores: Sequence[np.ndarray], profile: Profile) -> Best:
    """Find the threshold that scores best: a row is detected where its score reaches it, and NaN never does."""
    there = [mark.judged & np.isfinite(score) for mark, score in zip(marks, scores, strict=True)]
    flat = np.concatenate([score[some] for score, some in zip(scores, there, strict=True)])
    worth = np.concatenate([mark.worth[some] for mark, some in zip(marks, there, strict=True)])
    window = np.concatenate([np.where(mark.window < 0, -1, mark.window + 1000 * at) for at, mark in enumerate(marks)])
    window = window[np.concatenate(there)]
    order = np.argsort(-flat, kind="stable")
    flat, worth, window = flat[order], worth[order], window[order]
    every = [number + 1000 * at for at, mark in enumerate(marks) for number in mark.windows]
    gain = np.cumsum(np.where(window < 0, profile.false * worth, 0.0))
    for number in every:
        gain += np.maximum.accumulate(np.where(window == number, profile.found * worth, -profile.missed))
    last = np.append(np.diff(flat) != 0, True)  # of equal scores, all are detected or none
    at = int(np.argmax(np.where(last, gain, -np.inf))) if len(flat) else -1
    threshold = float(flat[at]) if at >= 0 and gain[at] > -profile.missed * len(every) else np.inf
    return judged(marks, [score >= threshold for score in scores], profile, threshold)


def _normalised(gain: float, windows: int, profile: Profile) -> float:
    """Put a sum between that of silence and that of perfection."""
    return 100.0 * (gain + profile.missed * windows) / (windows * (profile.found + profile.missed))
