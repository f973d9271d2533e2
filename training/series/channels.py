"""A window as real-valued channels: scaled numbers, waves of dates, one-hot categories; and flags.

A flag marks an event that no network reconstructs: a missing cell, an unseen category, a constant that changed. Its mean
over the training rows is subtracted.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.features import Features, select_columns

FLAG = 5.0  # standard deviations that a raised flag counts for


class WindowChannels(NamedTuple):
    """Windows as channels."""

    values: Tensor  # float64[windows, time, channels], 0 where missing
    present: Tensor  # [windows, time, channels], 1 where there is a value
    flags: Tensor  # [windows, newest rows, flags], 0 on average


class Channels(nn.Module):
    """Converts `float64[windows, time, columns]` to `WindowChannels`."""

    def __init__(self, features: Features, rates: Tensor) -> None:
        """Subtract `rates`, `[flags]`: how often each flag was raised in training."""
        super().__init__()
        layout = features.layout
        self.features = features
        self.rates = nn.Buffer(rates, persistent=False)
        self.unseen = nn.Buffer(torch.tensor([float(count) for count in layout.code_counts]), persistent=False)
        self.constants = nn.Buffer(torch.tensor(layout.constant_values, dtype=torch.float64), persistent=False)
        self.category_of_code = [category for category, count in enumerate(layout.code_counts) for _ in range(count)]
        code_columns = [layout.categories[category] for category in self.category_of_code]
        feature_columns = [layout.modelled[index] for index in features.owner]
        owners = [*feature_columns, *code_columns, *layout.modelled, *layout.categories, *layout.constants]
        self.count = len(feature_columns) + len(code_columns)
        self.owners = tuple(owners)  # the column of each channel, then of each flag

    @property
    def flags(self) -> int:
        """The number of flags."""
        return len(self.owners) - self.count

    def forward(self, window: Tensor, newest: int) -> WindowChannels:
        """Return the channels of windows, and the flags of their `newest` rows only."""
        time, columns = window.shape[1], window.shape[2]
        values, present = self.row_values(window.reshape(-1, columns))
        flags = self.row_flags(window[:, -newest:].reshape(-1, columns))
        parts = ((values, time), (present, time), (flags, newest))
        return WindowChannels(*(part.reshape(-1, rows, part.shape[1]) for part, rows in parts))

    def row_values(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """Return the channels of rows `float64[rows, columns]` and their presence: `[rows, channels]` each."""
        layout = self.features.layout
        cells = self.features(row)
        presence = self.features.presence(cells)
        values = [cells.values * presence if layout.dates else cells.values]  # missing numbers are 0 already
        present = [presence]
        if layout.categories:
            values.append(self.features.one_hot(cells.codes).double())
            present.append(select_columns((cells.codes >= 0).to(presence.dtype), self.category_of_code))
        return torch.cat(values, dim=1), torch.cat(present, dim=1)

    def row_flags(self, row: Tensor) -> Tensor:
        """Return the flags of rows `float64[rows, columns]`: `[rows, flags]`."""
        layout = self.features.layout
        cells = self.features(row)
        flags = [1.0 - cells.present]
        if layout.categories:
            flags.append((cells.codes == self.unseen).to(flags[0].dtype))
        if layout.constants:
            found = select_columns(row, layout.constants)
            flags.append(((found != self.constants) & ~torch.isnan(found)).to(flags[0].dtype))
        return (torch.cat(flags, dim=1) - self.rates) * FLAG

    def expected(self, row: Tensor, reconstruction: Tensor) -> Tensor:
        """Return reconstructed channels, `[rows, channels]`, in the user's units: `float64[rows, columns]`."""
        features = self.features.layout.feature_count
        return self.features.expected(row, reconstruction[:, :features], reconstruction[:, features:])
