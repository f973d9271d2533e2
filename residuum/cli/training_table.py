"""Files of normal rows as one table to train on."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from detector.batch import TableBatch
from detector.columns import format_names
from detector.errors import TableError
from detector.files import ReadOptions, TableSource, open_source
from detector.files.ndjson import NdjsonSource
from detector.rejects import Reject
from training.recipe import Table

FILE_SHIFT = 40  # training knows a row by one number: the file's place above these bits, its line below


class Read(NamedTuple):
    """A table, and what is known of its reading."""

    table: Table
    blank: int


def read(files: Sequence[str], options: ReadOptions) -> Read:
    """Read files with the same columns as one table, every cell as it stands there.

    The columns of NDJSON are the keys of all objects of all such files together.

    Raises:
        TableError: a file cannot be read, or its columns are others than the first one's.
    """
    first: TableSource | None = None  # of those with a header
    objects: TableSource | None = None  # the first NDJSON
    keys: dict[str, None] = {}
    blocks: list[TableBatch] = []
    for place, file in enumerate(files):
        with open_source(file, options) as source:
            if isinstance(source, NdjsonSource):
                objects = objects or source
                found = list(source.blocks_of_all_columns())
                keys |= dict.fromkeys(name for block in found for name in block.frame.columns)
            else:
                first = first or source
                _check_same(first, source.name, source.columns)
                found = list(source.blocks(first.columns))
        blocks += [block._replace(rows=block.rows + (place << FILE_SHIFT)) for block in found]
    if first and objects:
        _check_same(first, objects.name, keys)
    filled = [block for block in blocks if block.frame.height]
    rejects = [reject for block in blocks for reject in block.rejects]
    if not filled:
        raise TableError(
            f"{', '.join(files)}: a header and no rows that can be read, so there is nothing to learn from"
            + _first_of(_located(files, rejects))
        )
    rows = np.concatenate([block.rows for block in filled])
    table = Table(_joined(filled), rows, rejects, functools.partial(_located, files))
    return Read(table, sum(block.blank for block in blocks))


def _first_of(rejects: list[Reject]) -> str:
    """Tell what became of the first of the records that cannot be read."""
    return f"; row {rejects[0].row}: {rejects[0]}" if rejects else ""


def _located(files: Sequence[str], rejects: Iterable[Reject]) -> list[Reject]:
    """Give rejects with the file and the line where they stand, which training does not know."""
    several = len(files) > 1
    found = [
        msgspec.structs.replace(
            reject,
            row=reject.row & (1 << FILE_SHIFT) - 1,
            file=(reject.file or files[reject.row >> FILE_SHIFT]) if several else "",
        )
        for reject in rejects
    ]
    return sorted(found, key=lambda reject: (files.index(reject.file) if several else 0, reject.row))


def _check_same(first: TableSource, file: str, found: Collection[str]) -> None:
    """Refuse a file with other columns than the first."""
    lacks, more = [n for n in first.columns if n not in found], [n for n in found if n not in first.columns]
    if not (lacks or more):
        return
    differences = [f"it lacks {format_names(lacks)}"] * bool(lacks) + [f"it has {format_names(more)} besides"] * bool(more)
    raise TableError(f"{file} has other columns than {first.name}: {' and '.join(differences)}")


def _joined(blocks: list[TableBatch]) -> pl.DataFrame:
    """Put the blocks under each other; a column that has several types, such as out of CSV and Parquet, becomes text."""
    types: dict[str, set[pl.DataType]] = {}
    for block in blocks:
        for name, kind in block.frame.schema.items():
            types.setdefault(name, set()).add(kind)
    mixed = {name for name, kinds in types.items() if len(kinds) > 1}
    frames = [block.frame.cast(dict.fromkeys(mixed.intersection(block.frame.columns), pl.String)) for block in blocks]
    return pl.concat(frames, how="diagonal")
