"""Categories that training never saw, in encoded rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detector.columns import Column


class UnseenCategories:
    """Finds them in the rows of one detector."""

    def __init__(self, columns: Sequence[Column]) -> None:
        """Look at the categories among these columns."""
        self.indices = [index for index, column in enumerate(columns) if column.kind == "category"]
        self._codes = np.array([columns[index].unseen for index in self.indices])

    def find(self, matrix: np.ndarray) -> np.ndarray:
        """Return which cells of the categories hold a value never seen in training, `bool[rows, categories]`."""
        is_unseen: np.ndarray = matrix[:, self.indices] == self._codes
        return is_unseen
