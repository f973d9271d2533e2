"""Centre and scale numbers, by training rows alone.

Heavy tails first get a signed logarithm: sign(v) log(1 + |v|) with v = (x - centre) / unit. The rule:

- *counts*, whole numbers with an excess kurtosis above `HEAVY_COUNT`: the unit is 1;
- other numbers, where the farthest value lies more than `HEAVY_RATIO` times as far from the median as half of those
  that differ from it: the unit is that typical distance. (In lighter tails the distance itself marks the anomaly.)

The centre of a logarithm is the lowest value if that is not negative, else the median. Then every column is standardised.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

HEAVY_COUNT = 10.0  # a normal distribution has 0, an exponential one 6
HEAVY_RATIO = 1000.0
MAX_COUNT = 2.0**53  # above it every float64 is a whole number
MAX_MAGNITUDE = 1e150  # above it squares overflow; larger values are clipped while a scaling is fitted


class Scaling(NamedTuple):
    """The scaling of one column of numbers."""

    centre: float
    unit: float
    heavy: bool
    shift: float
    spread: float

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Scale values as the graph does."""
        offset = (values - self.centre) / self.unit
        bent = np.sign(offset) * np.log1p(np.abs(offset)) if self.heavy else offset
        return (bent - self.shift) / self.spread


IDENTITY = Scaling(centre=0.0, unit=1.0, heavy=False, shift=0.0, spread=1.0)


def fit_scaling(values: np.ndarray) -> Scaling:
    """Fit the scaling of one column to its training values, which hold at least two different numbers."""
    values = np.clip(values[np.isfinite(values)], -MAX_MAGNITUDE, MAX_MAGNITUDE)
    unit = _logarithm_unit(values)
    if unit is None:
        return Scaling(centre=float(values.mean()), unit=_deviation(values), heavy=False, shift=0.0, spread=1.0)
    return _bent(values, unit)


def fit_logarithm(values: np.ndarray) -> Scaling:
    """Fit a scaling with a logarithm, in the unit of the typical distance from the median, whatever the tails are."""
    return _bent(values, _typical_distance(np.abs(values - np.median(values))))


def _bent(values: np.ndarray, unit: float) -> Scaling:
    centre = float(values.min()) if values.min() >= 0 else float(np.median(values))
    bent = Scaling(centre, unit, heavy=True, shift=0.0, spread=1.0)(values)
    return Scaling(centre, unit, heavy=True, shift=float(bent.mean()), spread=_deviation(bent))


def _logarithm_unit(values: np.ndarray) -> float | None:
    """Return the unit of the logarithm; None if the tails are not heavy."""
    if _are_counts(values):
        return 1.0 if _excess_kurtosis(values) > HEAVY_COUNT else None
    distance = np.abs(values - np.median(values))
    typical = _typical_distance(distance) if distance.any() else np.inf
    return typical if distance.max() > HEAVY_RATIO * typical else None


def _typical_distance(distance: np.ndarray) -> float:
    return max(float(np.median(distance[distance > 0])), 1 / MAX_MAGNITUDE)


def _are_counts(values: np.ndarray) -> bool:
    return bool(np.all(values == np.round(values)) and np.abs(values).max() < MAX_COUNT)


def _deviation(values: np.ndarray) -> float:
    """Return the standard deviation, large enough that dividing by it does not overflow."""
    return max(float(values.std()), float(np.abs(values).max()) * 1e-14, 1e-300)


def _excess_kurtosis(values: np.ndarray) -> float:
    standardised = (values - values.mean()) / _deviation(values)
    return float(np.mean(standardised**4) - 3)
