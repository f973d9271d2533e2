"""What is done to a row before the network sees it in training; the target stays clean and scoring never corrupts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from training.features import Cells, Features, pick

Corruption = Callable[[Cells, Features, torch.Generator], Cells]

HIDDEN_ROWS = 0.5  # share of rows from which cells are hidden
MOST_HIDDEN = 0.3  # of such a row's cells


def none(cells: Cells, features: Features, generator: torch.Generator) -> Cells:
    """Leave the cells as they are."""
    del features, generator
    return cells


def swap(rate: float) -> Corruption:
    """Give each cell, at this rate, the value of the same column in another row (Porto Seguro's swap noise)."""

    def corrupt(cells: Cells, features: Features, generator: torch.Generator) -> Cells:
        other = cells.take(_permutation(cells, generator))
        swapped = _chance(cells.present, rate, generator) * cells.present * other.present
        by_feature = pick(swapped, features.owner)
        by_category = swapped[:, swapped.shape[1] - cells.codes.shape[1] :]
        return Cells(
            torch.where(by_feature > 0, other.values, cells.values),
            cells.present,
            torch.where(by_category > 0, other.codes, cells.codes),
        )

    return corrupt


def hide(cells: Cells, generator: torch.Generator) -> Cells:
    """Hide some cells of some rows, so that the network knows holes; hidden cells take no part in the loss."""
    device = cells.present.device
    rate = torch.rand(len(cells.present), 1, generator=generator, device=device) * MOST_HIDDEN
    rate = rate * (torch.rand(len(cells.present), 1, generator=generator, device=device) < HIDDEN_ROWS)
    hidden = torch.rand(cells.present.shape, generator=generator, device=device) < rate
    present = cells.present * (~hidden).float()
    gone = hidden[:, hidden.shape[1] - cells.codes.shape[1] :]
    return Cells(cells.values, present, cells.codes.masked_fill(gone, -1.0))


def _chance(like: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Draw 1 at a rate, 0 otherwise, in the shape of a tensor."""
    return (torch.rand(like.shape, generator=generator, device=like.device) < rate).float()


def _permutation(cells: Cells, generator: torch.Generator) -> Tensor:
    """Draw an order of the rows."""
    return torch.randperm(len(cells.present), generator=generator, device=cells.present.device)
