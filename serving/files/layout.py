"""Verdicts as a table to write: which columns an output has, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl

from detector import reasons
from detector.columns import format_names
from detector.errors import SettingError
from detector.reasons import Explain
from detector.rejects import Reject
from detector.windows import FATES, JUDGED
from serving.files.judging import Judged


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
    def _places(self) -> list[str]:
        if self.images:
            return ["file"]
        return ["file", "row"] if self.several_files else ["row"]

    def check(self, *, classified: bool, windowed: bool) -> None:
        """Refuse a kept column whose name the output, with or without classes or windows, needs itself.

        Raises:
            SettingError: names it.
        """
        own = {*self._places, "anomaly_score", "p_value", "is_anomaly", "reasons"}
        own |= {"class", "class_probability"} if classified else set()
        own |= {"state"} if windowed else set()
        own |= {f"reason_{place}" for place in range(1, self.top + 1)}
        taken = [name for name in self.keep if name in own]
        if taken:
            raise SettingError(f"--keep {format_names(taken)}: the output has a column of its own by that name; rename yours")

    def verdicts(self, judged: Judged) -> pl.DataFrame:
        """Lay out the accepted rows of a block."""
        verdicts = judged.verdicts
        frame = pl.DataFrame(
            {
                **({"file": judged.kept(("file",))["file"]} if self.images else {"row": judged.rows}),
                **judged.kept(self.keep).to_dict(),
                "anomaly_score": verdicts.score,
                "p_value": verdicts.p_value,
                "is_anomaly": verdicts.is_anomaly,
            }
        )
        if verdicts.fates is not None:
            frame = told_of_series(frame, verdicts.fates)
        classes = verdicts.classes.series() if verdicts.classes else []
        frame = frame.with_columns(*classes, *self._reasons(judged))
        if self.several_files and not self.images:
            frame = frame.select(pl.lit(judged.file).alias("file"), pl.all())
        return frame.filter("is_anomaly") if self.only_anomalies else frame

    def _reasons(self, judged: Judged) -> list[pl.Series]:
        """Give the columns that say why."""
        rows = len(judged.verdicts.score)
        if self.explain == "none":
            return []
        if self.structured:
            return [reasons.as_structs(judged.verdicts.reasons, rows)]
        return reasons.as_texts(judged.verdicts.reasons, rows, self.top)


def told_of_series(frame: pl.DataFrame, fates: np.ndarray) -> pl.DataFrame:
    """Say of each row of a series whether it was judged; one that was not has neither score nor verdict."""
    state = pl.Series("state", [FATES[fate] for fate in fates.tolist()], dtype=pl.String)
    judged = pl.lit(pl.Series(fates == JUDGED))
    verdict = [pl.when(judged).then(name).alias(name) for name in ("anomaly_score", "p_value", "is_anomaly")]
    return frame.with_columns(*verdict, state)


def reject_table(rejects: Sequence[Reject], *, several_files: bool, images: bool = False) -> pl.DataFrame:
    """Lay out rejected rows, or images."""
    names = [*(["file"] if several_files or images else []), *([] if images else ["row", "column"]), "found", "expected"]
    return pl.DataFrame({name: [getattr(reject, name) for reject in rejects] for name in names})
