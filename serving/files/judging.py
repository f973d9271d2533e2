"""Tables in files, judged block by block: what `score`, `evaluate` and `calibrate` share.

Writing the verdicts down is not done here: see `serving.files.scoring`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
import polars as pl

from detector.batch import TableBatch
from detector.columns import Column
from detector.decision import CalibrationCounts
from detector.errors import SettingError
from detector.files import ReadOptions
from detector.manifest import Manifest
from detector.reasons import Explain
from detector.rejects import Reject
from detector.scorer import Scorer, Verdicts
from serving.files.reading import Watch, read, unwatched


class Judge(Protocol):
    """Who gives the verdicts: a scorer in this process, or a service."""

    @property
    def manifest(self) -> Manifest:
        """What the detector is."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that it reads."""

    @property
    def calibration_counts(self) -> CalibrationCounts:
        """Where its threshold stands among the calibration scores."""

    def session(self) -> Session:
        """Begin with a file."""


class Session(Protocol):
    """Who judges the blocks of one file, one after the other."""

    def score(self, frame: pl.DataFrame, rows: np.ndarray, *, file: str, explain: Explain, top: int) -> Verdicts:
        """Judge every row of a frame, as `Scorer.score` does."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What to judge, what to carry along unchanged, and which rows to explain with how many reasons."""

    paths: tuple[str, ...]
    keep: tuple[str, ...] = ()
    decimal_comma: bool = False
    explain: Explain = "anomalies"
    top: int = 3


class Judged(NamedTuple):
    """A block and its verdicts."""

    file: str
    block: TableBatch
    verdicts: Verdicts
    unused: tuple[str, ...]  # columns of the file that nobody asked for

    @property
    def rows(self) -> np.ndarray:
        """Where the accepted rows start in their file: `int64[accepted rows]`."""
        return self.block.rows if self._all_accepted else self.block.rows[self.verdicts.accepted]

    @property
    def rejects(self) -> list[Reject]:
        """The rows that could not be read or judged, in the file's order."""
        return sorted([*self.block.rejects, *self.verdicts.rejects], key=lambda reject: reject.row)

    def kept(self, names: tuple[str, ...]) -> pl.DataFrame:
        """Give some columns of the accepted rows."""
        frame = self.block.frame
        return (frame if self._all_accepted else frame.filter(pl.Series(self.verdicts.accepted))).select(names)

    @property
    def _all_accepted(self) -> bool:
        return not self.verdicts.rejects


def of_images(scorer: Judge) -> Scorer:
    """Give the scorer that judges images, which is in this process.

    Raises:
        SettingError: a service is to judge.
    """
    if not isinstance(scorer, Scorer):
        raise SettingError("files of images are not sent to a service: give the bundle's folder, without --url")
    return scorer


def judge(scorer: Judge, question: Question, watch: Watch = unwatched) -> Iterator[Judged]:
    """Judge every row of every file; each file of a series begins anew.

    Raises:
        TableError: a file lacks a column (checked for all of them first), cannot be read, or no file has a row.
    """
    if scorer.manifest.image and scorer.manifest.image.files:
        from serving.files.images import judge_images

        yield from judge_images(of_images(scorer), question, watch)
        return
    options = ReadOptions(missing=scorer.manifest.missing, decimal_comma=question.decimal_comma)
    window = scorer.manifest.window
    also = (*question.keep, *(window.columns if window else ()))
    session, begun = scorer.session(), ""
    for file, block, unused in read(question.paths, scorer.columns, options, also, watch):
        if file != begun:
            session, begun = scorer.session(), file
        verdicts = session.score(block.frame, block.rows, file=file, explain=question.explain, top=question.top)
        yield Judged(file, block, verdicts, unused)
