"""What a user may choose when training, and the table to learn from; needs no torch, so what cannot be is refused at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl

from detector.decision import check_rate
from detector.errors import SettingError
from detector.graph import Device
from detector.images import ImageSpec
from detector.rejects import Reject
from detector.windows import MAX_LENGTH
from training import variants
from training.kinds import ColumnOptions

LARGEST_SEED = 2**63 - 1  # torch's
SHORTEST = 2  # rows of a window


class Table(NamedTuple):
    """A table to learn from: cells as text or native types, and what could not even be read."""

    frame: pl.DataFrame
    rows: np.ndarray  # int64[rows], as the user counts them
    rejects: list[Reject]
    located: Callable[[list[Reject]], list[Reject]] = list  # gives rejects the place where the user finds them


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What a user may choose when training; `false_alarm_rate` None asks for the default, or the least attainable.

    `lenient` lowers the promise where rows are too few for a rate that was named, instead of refusing them.
    """

    variant: str = variants.DEFAULT
    settings: dict[str, Any] = {}
    false_alarm_rate: float | None = None
    seed: int = 0
    columns: ColumnOptions = ColumnOptions()
    missing: tuple[str, ...] = ()
    device: Device = "auto"
    lenient: bool = False
    window: int | None = None  # rows: judge windows of the series that `columns.time` and `columns.key` tell of
    stride: int = 1
    max_gap: float | None = None  # None: the usual span of a window
    image: ImageSpec | None = None  # rows are the pixels of one

    def check(self) -> None:
        """Refuse what cannot be honoured, whatever the rows are.

        Raises:
            SettingError: says what, and what would work.
        """
        if not 0 <= self.seed <= LARGEST_SEED:
            raise SettingError(f"the seed {self.seed} is not between 0 and {LARGEST_SEED}")
        if self.false_alarm_rate is not None:
            check_rate(self.false_alarm_rate)
        if self.window is None:
            self._check_single()
            variants.plan(self.variant, self.settings)
            variants.check_takes(self.variant, images=self.image is not None)
        else:
            variants.windowed_plan(self.variant, self.settings)
            self._check_window(self.window)

    def _check_single(self) -> None:
        """Refuse wishes that mean nothing where rows are judged one by one."""
        given = {"key": self.columns.key, "stride": self.stride != 1, "max-gap": self.max_gap is not None}
        alone = [name for name, wish in given.items() if wish]
        if alone:
            are = "is" if len(alone) == 1 else "are"
            raise SettingError(f"--{' and --'.join(alone)} {are} for windows of a series: say by --window how many rows one has")

    def _check_window(self, length: int) -> None:
        """Refuse windows that cannot be cut."""
        if self.columns.time is None:
            raise SettingError("a window is cut from rows in the order of time: name the column that tells it by --time")
        if self.image is not None:
            raise SettingError("rows are either pixels of an image or a series: leave out --image or --window")
        if not SHORTEST <= length <= MAX_LENGTH:
            raise SettingError(f"a window has from {SHORTEST} to {MAX_LENGTH:,} rows; got {length}")
        if not 1 <= self.stride <= MAX_LENGTH:
            raise SettingError(f"a stride is from 1 to {MAX_LENGTH:,} rows; got {self.stride}")
        if self.max_gap is not None and not self.max_gap > 0:
            raise SettingError(f"a largest gap is above 0; got {self.max_gap:g}")
