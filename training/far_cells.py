"""Cells that are far from all others of their column, such as a typing error: one of them would set the scale of all.

Ranges and scalings are learned without them, and training reads each as the nearest usual value, so that its row still
trains. Calibration reads them as they are. In other columns nothing changes.
"""

from __future__ import annotations

import numpy as np

from training.scaling import MAX_MAGNITUDE, fit_logarithm, fit_scaling

FAR_RATIO = 4.0  # times as far from the mean as every usual cell ...
FAR_DEVIATIONS = 6.0  # ... and so many standard deviations of the usual cells
FAR_SHARE = 100  # at most one cell in so many; where more are that far, they are usual
MIN_OTHERS = 10  # usual cells that differ from the median; fewer have no scale to compare with
MIN_GAP = 2.0  # times the distance of the next cell from the median; columns without such a gap are not looked at further


def are_far(values: np.ndarray) -> np.ndarray:
    """Return which values of a column are far from all others: `bool[rows]`; missing ones are not."""
    known = np.flatnonzero(np.isfinite(values))
    far = np.zeros(len(values), dtype=bool)
    if len(known) > MIN_OTHERS:
        present = np.clip(values[known], -MAX_MAGNITUDE, MAX_MAGNITUDE)
        distance = np.abs(present - np.median(present))
        order = np.argsort(distance, kind="stable")
        far[known[order[_usual_count(present[order], distance[order]) :]]] = True
    return far


def beyond_range(values: np.ndarray, lowest: float, highest: float) -> np.ndarray:
    """Return which values are far from those in a column's usual range: `bool[rows]`."""
    beyond = (values < lowest) | (values > highest)
    if beyond.any():
        usual = values[(values >= lowest) & (values <= highest)]
        beyond[beyond] = _are_far_from(usual, values[beyond])
    return beyond


def _are_far_from(usual: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return which values are far from usual ones, on the scale of the network and on a logarithmic one: tails may be heavy."""
    if len(usual) < MIN_OTHERS or usual.min() == usual.max():
        return np.zeros(len(values), dtype=bool)
    values, scaling = np.clip(values, -MAX_MAGNITUDE, MAX_MAGNITUDE), fit_scaling(usual)
    limit = max(FAR_DEVIATIONS, FAR_RATIO * float(np.abs(scaling(usual)).max()))
    far: np.ndarray = (np.abs(scaling(values)) > limit) & (np.abs(fit_logarithm(usual)(values)) > FAR_DEVIATIONS)
    return far


def _usual_count(values: np.ndarray, distance: np.ndarray) -> int:
    """Return how many values are usual; both arrays are in the order of the distance from the median.

    The innermost gap decides beyond which all values are far: values behind it would widen the scale that they are compared on.
    """
    fewest = len(values) - max(1, len(values) // FAR_SHARE)
    gaps = distance[fewest:] / np.maximum(distance[fewest - 1 : -1], 1 / MAX_MAGNITUDE)
    for usual in (fewest + np.flatnonzero(gaps >= MIN_GAP)).tolist():
        if np.count_nonzero(distance[:usual]) < MIN_OTHERS:
            continue
        if _are_far_from(values[:usual], values[usual:]).all():
            return usual
    return len(values)
