"""A window as real-valued channels: scaled numbers, waves of dates, categories one-hot; and flags beside them.

A flag tells what no network needs to rebuild: a cell that is missing, a category never seen, a constant that changed. What
is usual of it is its mean over the training rows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.features import Features, pick

FLAG = 5.0  # standard deviations that a flag counts for


class Seen(NamedTuple):
    """Windows as channels."""

    values: Tensor  # float64[windows, time, channels], 0 where missing
    present: Tensor  # [windows, time, channels], 1 where there is a value
    flags: Tensor  # [windows, newest rows, flags], 0 where all is as usual


class Channels(nn.Module):
    """`float64[windows, time, columns]` to `Seen`."""

    def __init__(self, features: Features, rates: Tensor) -> None:
        """Take the features, and how often each flag was raised in training, `[flags]`."""
        super().__init__()
        layout = features.layout
        self.features = features
        self.rates = nn.Buffer(rates, persistent=False)
        self.unseen = nn.Buffer(torch.tensor([float(codes) for codes in layout.codes]), persistent=False)
        self.constants = nn.Buffer(torch.tensor(layout.constant_values, dtype=torch.float64), persistent=False)
        self.of_codes = [place for place, codes in enumerate(layout.codes) for _ in range(codes)]
        categories = [place for place, codes in zip(layout.categories, layout.codes, strict=True) for _ in range(codes)]
        of_features = [layout.modelled[place] for place in features.owner]
        owners = [*of_features, *categories, *layout.modelled, *layout.categories, *layout.constants]
        self.count = len(of_features) + len(categories)
        self.owners = tuple(owners)  # the column of each channel, then of each flag

    @property
    def flags(self) -> int:
        """How many flags there are."""
        return len(self.owners) - self.count

    def forward(self, window: Tensor, newest: int) -> Seen:
        """Give the channels of windows, and the flags of their newest rows alone."""
        time, columns = window.shape[1], window.shape[2]
        values, present = self.values(window.reshape(-1, columns))
        flags = self.raised(window[:, -newest:].reshape(-1, columns))
        parts = ((values, time), (present, time), (flags, newest))
        return Seen(*(part.reshape(-1, rows, part.shape[1]) for part, rows in parts))

    def values(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """Give the channels of single rows, `float64[rows, columns]`, and where there are any: `[rows, channels]` each."""
        layout = self.features.layout
        cells = self.features(row)
        present = self.features.presence(cells)
        values = [cells.values * present if layout.dates else cells.values]  # numbers are 0 where missing anyway
        there = [present]
        if layout.categories:
            values.append(self.features.one_hot(cells.codes).double())
            there.append(pick((cells.codes >= 0).to(present.dtype), self.of_codes))
        return torch.cat(values, dim=1), torch.cat(there, dim=1)

    def raised(self, row: Tensor) -> Tensor:
        """Give the flags of single rows, `[rows, flags]`."""
        layout = self.features.layout
        cells = self.features(row)
        flags = [1.0 - cells.present]
        if layout.categories:
            flags.append((cells.codes == self.unseen).to(flags[0].dtype))
        if layout.constants:
            found = pick(row, layout.constants)
            flags.append(((found != self.constants) & ~torch.isnan(found)).to(flags[0].dtype))
        return (torch.cat(flags, dim=1) - self.rates) * FLAG

    def expected(self, row: Tensor, rebuilt: Tensor) -> Tensor:
        """Give rebuilt channels, `[rows, channels]`, in the user's units: `float64[rows, columns]`."""
        features = self.features.layout.features
        return self.features.expected(row, rebuilt[:, :features], rebuilt[:, features:])
