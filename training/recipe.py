"""The options of a training run, and the table to train on. Imports no torch, so invalid options fail fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

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
from training.variants import Plan, WindowedPlan

MAX_SEED = 2**63 - 1  # torch's
MIN_WINDOW = 2  # rows

InputKind = Literal["rows", "images", "windows"]


class Table(NamedTuple):
    """A table to train on: cells as text or native types, and the rows that could not be parsed."""

    frame: pl.DataFrame
    rows: np.ndarray  # int64[rows], row numbers as the user counts them
    rejects: list[Reject]
    locate: Callable[[list[Reject]], list[Reject]] = list  # adds the file and line to rejects
    file: str = ""  # the file, if all rows come from one


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a training run.

    `false_alarm_rate` None means the default, or the smallest rate that the rows can promise. `lenient` lowers a rate
    that was named as well, instead of raising.
    """

    variant: str = variants.DEFAULT
    settings: dict[str, Any] = {}
    false_alarm_rate: float | None = None
    seed: int = 0
    columns: ColumnOptions = ColumnOptions()
    missing: tuple[str, ...] = ()
    device: Device = "auto"
    lenient: bool = False
    window: int | None = None  # rows of a window; None: rows or images are scored one by one
    stride: int = 1
    max_gap: float | None = None  # None: the usual time span of a window
    suspects: bool = True  # list suspicious training rows in the bundle
    image: ImageSpec | None = None  # each row holds the pixels of such an image

    @property
    def kind(self) -> InputKind:
        """The kind of input that a detector of this recipe takes."""
        if self.window is not None:
            return "windows"
        return "rows" if self.image is None else "images"

    def check(self) -> None:
        """Raise unless the options are valid, whatever the rows are.

        Raises:
            SettingError: names the option and what would work.
        """
        self._check_types()
        if not 0 <= self.seed <= MAX_SEED:
            raise SettingError(f"the seed {self.seed} is not between 0 and {MAX_SEED}")
        if self.false_alarm_rate is not None:
            check_rate(self.false_alarm_rate)
        if self.window is None:
            self._check_no_window_options()
            self.plan()
        else:
            self.windowed_plan()
            self._check_window(self.window)

    def _check_types(self) -> None:
        """Raise unless every option has its type, which Python does not check."""
        try:
            plain = msgspec.to_builtins(msgspec.structs.replace(self, settings={}), enc_hook=_plain)
            msgspec.convert(plain, Recipe)
        except (msgspec.ValidationError, TypeError) as error:
            message, _, path = str(error).partition(" - at `$.")
            name = path.rstrip("`").removeprefix("columns.").partition("[")[0].replace("_", " ")
            raise SettingError(
                f"the option {name} is not valid: {message}" if name else f"an option is not valid: {message}"
            ) from error

    def plan(self) -> Plan:
        """Return the variant with its settings, for rows or images.

        Raises:
            SettingError: the variant or a setting is unknown or invalid, or the variant does not take this kind of input.
        """
        plan = variants.plan(self.variant, self.settings)
        variants.check_input(self.variant, images=self.kind == "images")
        return plan

    def windowed_plan(self) -> WindowedPlan:
        """Return the variant with its settings, for windows of a series.

        Raises:
            SettingError: as `plan`.
        """
        return variants.windowed_plan(self.variant, self.settings)

    def _check_no_window_options(self) -> None:
        is_given = {"key": self.columns.key, "stride": self.stride != 1, "max-gap": self.max_gap is not None}
        names = [name for name, given in is_given.items() if given]
        if names:
            are = "is" if len(names) == 1 else "are"
            raise SettingError(
                f"--{' and --'.join(names)} {are} for windows of a series: set the number of rows of a window with --window"
            )

    def _check_window(self, length: int) -> None:
        if self.columns.time is None:
            raise SettingError("windows need rows in the order of time: name the time column with --time")
        if self.image is not None:
            raise SettingError("rows are either the pixels of an image or a series: leave out --image or --window")
        if not MIN_WINDOW <= length <= MAX_LENGTH:
            raise SettingError(f"a window has from {MIN_WINDOW} to {MAX_LENGTH:,} rows; got {length}")
        if not 1 <= self.stride <= MAX_LENGTH:
            raise SettingError(f"a stride is from 1 to {MAX_LENGTH:,} rows; got {self.stride}")
        if self.max_gap is not None and not self.max_gap > 0:
            raise SettingError(f"the largest gap must be above 0; got {self.max_gap:g}")


def _plain(value: Any) -> Any:  # noqa: ANN401 - anything
    """Return a number of numpy as one of Python; anything else has no plain form."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no value of an option")
