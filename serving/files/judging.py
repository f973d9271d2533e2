"""Tables in files, judged block by block: what `score`, `evaluate` and `calibrate` share.

Writing the verdicts down is not done here: see `serving.files.scoring`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from detector.errors import TableError
from detector.files import Block, ReadOptions, Source, open_source
from detector.reasons import Explain
from detector.rejects import Reject
from detector.scorer import Scorer, Verdicts

Watch = Callable[[int, int], None]  # bytes read, rows judged


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
    block: Block
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


def judge(scorer: Scorer, question: Question, watch: Watch = lambda _bytes, _rows: None) -> Iterator[Judged]:
    """Judge every row of every file.

    Raises:
        TableError: a file lacks a column (checked for all of them first), cannot be read, or no file has a row.
    """
    wanted, numbers = _wanted(scorer, question)
    options = ReadOptions(missing=scorer.manifest.missing, decimal_comma=question.decimal_comma)
    _check(question.paths, wanted, options)
    before = rows = 0
    for path in question.paths:
        with open_source(path, options) as source:
            for judged in _judge(scorer, question, source, source.blocks(wanted, numbers)):
                rows += judged.block.frame.height + len(judged.block.rejects)
                yield judged
                watch(before + source.position, rows)
            before += source.position
    if not rows:
        raise TableError(f"{', '.join(question.paths)}: a header and no rows, so there is nothing to score")


def _judge(scorer: Scorer, question: Question, source: Source, blocks: Iterator[Block]) -> Iterator[Judged]:
    """Judge the blocks of one file."""
    used = {*(column.name for column in scorer.columns), *question.keep}
    unused = tuple(name for name in source.columns if name not in used)
    for block in blocks:
        verdicts = scorer.score(block.frame, block.rows, file=source.name, explain=question.explain, top=question.top)
        yield Judged(source.name, block, verdicts, unused)


def _wanted(scorer: Scorer, question: Question) -> tuple[list[str], list[str]]:
    """Give the columns to read, and which of them as numbers; what is kept stays text, to come out as it went in."""
    names = [column.name for column in scorer.columns]
    numbers = [column.name for column in scorer.columns if column.kind == "number" and column.name not in question.keep]
    return list(dict.fromkeys([*names, *question.keep])), numbers


def _check(paths: tuple[str, ...], wanted: list[str], options: ReadOptions) -> None:
    """Look at every header before the first row is scored; a pipe can be opened only once and has to wait."""
    for path in paths:
        if Path(path).is_file():
            with open_source(path, options) as source:
                source.blocks(wanted)
