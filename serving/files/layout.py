"""Verdicts as a table to write: which columns an output has, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import polars as pl

from detector.columns import format_names
from detector.errors import SettingError
from detector.reasons import Explain, as_structs, as_texts
from detector.rejects import Reject
from detector.verdicts import FIELDS, Verdicts


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """What an output shows; `structured` reasons are for formats that can nest."""

    several_files: bool
    keep: tuple[str, ...]
    explain: Explain
    top: int
    structured: bool
    only_anomalies: bool = False
    images: bool = False  # a row is an image, named by its file

    @property
    def kept(self) -> tuple[str, ...]:
        """The columns that are copied from the input."""
        return ("file",) if self.images else self.keep

    def check(self, *, classified: bool, windowed: bool) -> None:
        """Raise if a kept column has a name that the output needs itself, with or without classes or windows.

        Raises:
            SettingError: it has.
        """
        absent = set() if classified else {"class", "class_probability"}
        absent |= set() if windowed else {"state"}
        position = {"file"} if self.images else {"file", "row"} if self.several_files else {"row"}
        own = position | {*FIELDS} - absent | {f"reason_{rank}" for rank in range(1, self.top + 1)}
        taken = [name for name in self.keep if name in own]
        if taken:
            raise SettingError(f"--keep {format_names(taken)}: the output has a column of its own by that name; rename yours")

    def verdicts(self, kept: pl.DataFrame, verdicts: Verdicts, file: str) -> pl.DataFrame:
        """Lay out the accepted rows of a batch; `kept` holds the columns that are copied."""
        position = [] if self.images else [pl.Series("row", verdicts.rows)]
        if self.several_files and not self.images:
            position.insert(0, pl.Series("file", [file], dtype=pl.String).new_from_index(0, len(verdicts.score)))
        frame = pl.DataFrame([*position, *kept, *verdicts.table(), *self._reasons(verdicts)])
        return frame.filter("is_anomaly") if self.only_anomalies else frame

    def _reasons(self, verdicts: Verdicts) -> list[pl.Series]:
        rows, table = len(verdicts.score), verdicts.reasons.table()
        if self.explain == "none":
            return []
        return [as_structs(table, rows)] if self.structured else as_texts(table, rows, self.top)


def reject_table(rejects: Sequence[Reject], *, several_files: bool, images: bool = False) -> pl.DataFrame:
    """Lay out rejected rows, or images."""
    names = [*(["file"] if several_files or images else []), *([] if images else ["row", "column"]), "found", "expected"]
    return pl.DataFrame({name: [getattr(reject, name) for reject in rejects] for name in names})
