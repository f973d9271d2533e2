"""Files of normal rows as one table to train on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from detector.columns import listing
from detector.errors import TableError
from detector.files import Block, ReadOptions, open_source
from detector.rejects import Reject
from training.train import Table

FILE_SHIFT = 40  # training knows a row by one number: the file's place above these bits, its line below


class Read(NamedTuple):
    """A table, and what is known of its reading."""

    table: Table
    files: list[str]
    blank: int

    def located(self, rejects: Iterable[Reject]) -> list[Reject]:
        """Give rejects with the file and the line where they stand, which training does not know."""
        several = len(self.files) > 1
        found = [
            msgspec.structs.replace(
                reject,
                row=reject.row & (1 << FILE_SHIFT) - 1,
                file=(reject.file or self.files[reject.row >> FILE_SHIFT]) if several else "",
            )
            for reject in rejects
        ]
        return sorted(found, key=lambda reject: (self.files.index(reject.file) if several else 0, reject.row))


def read(files: Sequence[str], options: ReadOptions) -> Read:
    """Read files with the same columns as one table, every cell as it stands there.

    Raises:
        TableError: a file cannot be read, or its columns are others than the first one's.
    """
    names: tuple[str, ...] = ()
    blocks: list[Block] = []
    for place, file in enumerate(files):
        with open_source(file, options) as source:
            names = names or source.columns
            _check_same(files[0], names, source.name, source.columns)
            blocks += [block._replace(rows=block.rows + (place << FILE_SHIFT)) for block in source.blocks(names)]
    if not any(block.frame.height for block in blocks):
        raise TableError(f"{', '.join(files)}: a header and no rows that can be read, so there is nothing to learn from")
    rows = np.concatenate([block.rows for block in blocks])
    rejects = [reject for block in blocks for reject in block.rejects]
    return Read(Table(_joined(blocks), rows, rejects), list(files), sum(block.blank for block in blocks))


def _check_same(first: str, expected: tuple[str, ...], file: str, found: tuple[str, ...]) -> None:
    """Refuse a file with other columns than the first."""
    lacks, more = [n for n in expected if n not in found], [n for n in found if n not in expected]
    if not (lacks or more):
        return
    differences = [f"it lacks {listing(lacks)}"] * bool(lacks) + [f"it has {listing(more)} besides"] * bool(more)
    raise TableError(f"{file} has other columns than {first}: {' and '.join(differences)}")


def _joined(blocks: list[Block]) -> pl.DataFrame:
    """Put the blocks under each other; a column that has several types, such as out of CSV and Parquet, becomes text."""
    frames = [block.frame for block in blocks if block.frame.height]
    mixed = [name for name in frames[0].columns if len({frame.schema[name] for frame in frames}) > 1]
    return pl.concat(frame.cast(dict.fromkeys(mixed, pl.String)) if mixed else frame for frame in frames)
