"""How numbers are centred and scaled, from training rows alone.

Heavy tails get a signed logarithm first: sign(v) log(1 + |v|) with v = (x - centre) / unit. The rule:

- *counts*, whole numbers with an excess kurtosis above `HEAVY_COUNT`: the unit is 1;
- other numbers, where the farthest value lies more than `HEAVY_REACH` times as far from the median as half of those
  that differ from it: the unit is that typical distance. (A lower bar costs: in lighter tails distance is the anomaly.)

The centre of a logarithm is the lowest value if that is not negative, else the median. Then every column is standardised.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

HEAVY_COUNT = 10.0  # a normal distribution has 0, an exponential one 6
HEAVY_REACH = 1000.0
LARGEST_COUNT = 2.0**53  # above it every float64 is a whole number
LARGEST = 1e150  # above it squares overflow; values beyond count as this large while a scaling is learnt


class Scaling(NamedTuple):
    """One number column's way into the network; all plain floats."""

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


AS_IT_IS = Scaling(centre=0.0, unit=1.0, heavy=False, shift=0.0, spread=1.0)


def learn(values: np.ndarray) -> Scaling:
    """Learn the scaling of one column from its training values, which hold at least two different numbers."""
    values = np.clip(values[np.isfinite(values)], -LARGEST, LARGEST)
    unit = _logarithmic_unit(values)
    if unit is None:
        return Scaling(centre=float(values.mean()), unit=_spread(values), heavy=False, shift=0.0, spread=1.0)
    centre = float(values.min()) if values.min() >= 0 else float(np.median(values))
    bent = Scaling(centre, unit, heavy=True, shift=0.0, spread=1.0)(values)
    return Scaling(centre, unit, heavy=True, shift=float(bent.mean()), spread=_spread(bent))


def _logarithmic_unit(values: np.ndarray) -> float | None:
    """Give the unit of the logarithm, if the tails are heavy."""
    if _is_count(values):
        return 1.0 if _excess_kurtosis(values) > HEAVY_COUNT else None
    off = np.abs(values - np.median(values))
    typical = max(float(np.median(off[off > 0])), 1 / LARGEST) if off.any() else np.inf
    return typical if off.max() > HEAVY_REACH * typical else None


def _is_count(values: np.ndarray) -> bool:
    """Tell whether all values are whole numbers."""
    return bool(np.all(values == np.round(values)) and np.abs(values).max() < LARGEST_COUNT)


def _spread(values: np.ndarray) -> float:
    """Give the standard deviation, never so small that dividing by it overflows."""
    return max(float(values.std()), float(np.abs(values).max()) * 1e-14, 1e-300)


def _excess_kurtosis(values: np.ndarray) -> float:
    """Give the excess kurtosis, 0 for a normal distribution."""
    standardised = (values - values.mean()) / _spread(values)
    return float(np.mean(standardised**4) - 3)
