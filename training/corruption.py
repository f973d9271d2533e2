"""Corruptions of the network's inputs in training; the target stays clean, and scoring never corrupts.

All corruptions act on scaled values and never on presence flags (Vincent et al. 2010, section 3.3, for masking, Gaussian
and salt-and-pepper noise).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detector.errors import SettingError
from training.features import Cells, Features, select_columns

Corruption = Callable[[Cells, Features, torch.Generator], Cells]

HIDDEN_ROWS = 0.5  # share of rows in which cells are hidden
MAX_HIDDEN = 0.3  # share of such a row's cells
NO_CODE = -1.0
PATCHES = 8  # squares along an image's shorter side


def no_corruption(cells: Cells, features: Features, generator: torch.Generator) -> Cells:
    """Return the cells as they are."""
    del features, generator
    return cells


def corruption_named(name: str, level: float) -> Corruption:
    """Return a corruption by its name; `level` is a share of cells, for `gaussian` a standard deviation."""
    if name == "none":
        return no_corruption

    def corrupt(cells: Cells, features: Features, generator: torch.Generator) -> Cells:
        return _CORRUPTIONS[name](cells, features, level, generator)

    return corrupt


def hide(cells: Cells, generator: torch.Generator) -> Cells:
    """Hide some cells of some rows, so that the network learns about missing cells; the loss ignores hidden cells."""
    device = cells.present.device
    rate = torch.rand(len(cells.present), 1, generator=generator, device=device) * MAX_HIDDEN
    rate = rate * (torch.rand(len(cells.present), 1, generator=generator, device=device) < HIDDEN_ROWS)
    hidden = torch.rand(cells.present.shape, generator=generator, device=device) < rate
    present = cells.present * (~hidden).float()
    return Cells(cells.values, present, cells.codes.masked_fill(_of_categories(hidden, cells), NO_CODE))


def _swap(cells: Cells, features: Features, level: float, generator: torch.Generator) -> Cells:
    """Replace cells by those of another row, where both rows have one (swap noise)."""
    other = cells.take(torch.randperm(len(cells.present), generator=generator, device=cells.present.device))
    hit = _draw(cells, level, generator) & (other.present > 0)
    return _replace(hit, cells, features, other.values, other.codes)


def _gaussian(cells: Cells, features: Features, level: float, generator: torch.Generator) -> Cells:
    """Add normal noise to every number that is present."""
    noise = torch.randn(cells.values.shape, generator=generator, device=cells.values.device)
    return cells._replace(values=cells.values + level * noise * features.presence(cells))


def _masking(cells: Cells, features: Features, level: float, generator: torch.Generator) -> Cells:
    """Set numbers to 0 and categories to no code."""
    hit = _draw(cells, level, generator)
    return _replace(hit, cells, features, torch.zeros_like(cells.values), torch.full_like(cells.codes, NO_CODE))


def _salt_and_pepper(cells: Cells, features: Features, level: float, generator: torch.Generator) -> Cells:
    """Set numbers to their training minimum or maximum and categories to a random code."""
    device = cells.values.device
    is_low = torch.rand(cells.values.shape, generator=generator, device=device) < 0.5  # noqa: PLR2004 - a fair coin
    extreme = torch.where(is_low, features.scaled_lowest, features.scaled_highest)
    uniform = torch.rand(cells.codes.shape, generator=generator, device=device)
    codes = torch.floor(uniform * torch.tensor(features.layout.code_counts, device=device))
    return _replace(_draw(cells, level, generator), cells, features, extreme, codes)


def _dropout(cells: Cells, features: Features, level: float, generator: torch.Generator) -> Cells:
    """Set cells to 0 and divide the other numbers by 1 - level, which keeps the expected sum."""
    masked = _masking(cells, features, level, generator)
    return masked._replace(values=masked.values / (1 - level * features.presence(cells)))


def _patches(cells: Cells, features: Features, level: float, generator: torch.Generator) -> Cells:
    """Set squares of an image to 0 in all channels; the squares' grid has a random offset."""
    image = features.layout.image
    if image is None:
        raise SettingError("corruption=patches hides squares of images; these are rows: use corruption=masking")
    channels, height, width = image.shape
    side = max(2, min(height, width) // PATCHES)
    grid = (len(cells.values), 1, height // side + 2, width // side + 2)
    hit = torch.rand(grid, generator=generator, device=cells.values.device) < level
    top, left = torch.randint(side, (2,), generator=generator, device=cells.values.device).tolist()
    pixels = hit.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)
    pixels = pixels[:, :, top : top + height, left : left + width].expand(-1, channels, -1, -1)
    return cells._replace(values=cells.values.masked_fill(pixels.flatten(1), 0.0))


_CORRUPTIONS: dict[str, Callable[[Cells, Features, float, torch.Generator], Cells]] = {
    "swap": _swap,
    "gaussian": _gaussian,
    "masking": _masking,
    "salt-and-pepper": _salt_and_pepper,
    "dropout": _dropout,
    "patches": _patches,
}


def _draw(cells: Cells, rate: float, generator: torch.Generator) -> Tensor:
    """Draw which of the present cells are corrupted: `bool[rows, modelled columns]`."""
    return (torch.rand(cells.present.shape, generator=generator, device=cells.present.device) < rate) & (cells.present > 0)


def _replace(hit: Tensor, cells: Cells, features: Features, values: Tensor, codes: Tensor) -> Cells:
    """Replace the cells that were drawn."""
    return Cells(
        torch.where(select_columns(hit, features.owner), values, cells.values),
        cells.present,
        torch.where(_of_categories(hit, cells), codes, cells.codes),
    )


def _of_categories(by_column: Tensor, cells: Cells) -> Tensor:
    """Return the columns of the categories, which come last."""
    return by_column[:, by_column.shape[1] - cells.codes.shape[1] :]
