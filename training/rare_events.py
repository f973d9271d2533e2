"""What events add to a score that are rare in every training row: missing cells, changed constants, categories never seen."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from training.layout import FeatureLayout

MIN_EVIDENCE = 1000  # rows that a constant column counts for at least
USUAL = 20  # a cell that is missing, or present, in one of so many rows is no event of its own in a bounded score


class RareEvents(NamedTuple):
    """The terms of rare events."""

    never_seen: Tensor  # of a new value: float64[categories]
    changed: float  # of a column that was constant
    if_missing: Tensor  # float64[columns]
    if_there: Tensor  # float64[columns]


def in_nats(layout: FeatureLayout) -> RareEvents:
    """Return terms in nats: -log p of a cell being missing or present, and of a new value in n rows log(n + 2).

    A changed constant scores n / 2: a squared error of n, under the variance that a single different row among n would have
    given; so does a new value in a column without rare ones, which therefore is flagged by itself. n is the number of
    training rows, for these two at least `MIN_EVIDENCE`.
    """
    changed = max(layout.rows, MIN_EVIDENCE) / 2
    return RareEvents(_new_values(layout, math.log(layout.rows + 2), changed), changed, *_surprises(layout))


def as_mean_over_columns(layout: FeatureLayout) -> RareEvents:
    """Return terms of a mean squared error: an error of 1 for a new value, of n as for a constant where none was rare."""
    columns = len(layout.columns)
    nothing = torch.zeros(columns, dtype=torch.float64)
    changed = max(layout.rows, MIN_EVIDENCE) / columns
    return RareEvents(_new_values(layout, 1.0 / columns, changed), changed, nothing, nothing)


def bounded(layout: FeatureLayout) -> RareEvents:
    """Return terms of a score whose parts are bounded: n rows are evidence of at most about log(n + 2) nats.

    A new value in a column without rare ones is flagged by itself, as in `in_nats`.
    Missing and present cells count only where they are rarer than one in `USUAL`: the terms of usual ones would vary as much
    as the score does.
    """
    evidence = math.log(layout.rows + 2)
    return RareEvents(
        _new_values(layout, evidence, max(layout.rows, MIN_EVIDENCE) / 2),
        evidence,
        *(torch.relu(each - math.log(USUAL)) for each in _surprises(layout)),
    )


def _new_values(layout: FeatureLayout, usual: float, closed: float) -> Tensor:
    """Return what a new value of each category adds: `closed` where training saw every value often, else `usual`."""
    is_closed = layout.closed or (False,) * len(layout.categories)
    return torch.tensor([closed if each else usual for each in is_closed], dtype=torch.float64)


def _surprises(layout: FeatureLayout) -> tuple[Tensor, Tensor]:
    """Return -log p of each column's cell being missing, and of it being present."""
    rates = torch.tensor([column.missing_rate for column in layout.columns], dtype=torch.float64)
    return -torch.log(rates), -torch.log1p(-rates)
