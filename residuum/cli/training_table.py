"""Read files of normal rows as one table to train on."""

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

FILE_SHIFT = 40  # training identifies a row by one number: the file's index in the bits above these, its line in the others


class TrainingTable(NamedTuple):
    """A table to train on, and the number of blank lines skipped."""

    table: Table
    blank_lines: int


def read(files: Sequence[str], options: ReadOptions) -> TrainingTable:
    """Read files with the same columns as one table, without converting cells.

    The columns of NDJSON files are the keys of all objects in all of them.

    Raises:
        TableError: a file cannot be read, has other columns than the first, or no row can be read.
    """
    first: TableSource | None = None  # with a header
    first_ndjson: TableSource | None = None
    keys: dict[str, None] = {}
    blocks: list[TableBatch] = []
    for index, file in enumerate(files):
        with open_source(file, options) as source:
            if isinstance(source, NdjsonSource):
                first_ndjson = first_ndjson or source
                found = list(source.blocks_of_all_columns())
                keys |= dict.fromkeys(name for block in found for name in block.frame.columns)
            else:
                first = first or source
                _check_same_columns(first, source.name, source.columns)
                found = list(source.blocks(first.columns))
        blocks += [block._replace(rows=block.rows + (index << FILE_SHIFT)) for block in found]
    if first and first_ndjson:
        _check_same_columns(first, first_ndjson.name, keys)
    filled = [block for block in blocks if block.frame.height]
    rejects = [reject for block in blocks for reject in block.rejects]
    if not filled:
        located = _located(files, rejects)
        first_reject = f"; row {located[0].row}: {located[0]}" if located else ""
        raise TableError(f"{', '.join(files)}: a header but no readable rows, so there is nothing to train on{first_reject}")
    rows = np.concatenate([block.rows for block in filled])
    table = Table(_concatenated(filled), rows, rejects, functools.partial(_located, files), files[0] if len(files) == 1 else "")
    return TrainingTable(table, sum(block.blank for block in blocks))


def _located(files: Sequence[str], rejects: Iterable[Reject]) -> list[Reject]:
    """Return rejects with their file, if there are several, and their line in it."""
    several = len(files) > 1
    located = [
        msgspec.structs.replace(
            reject,
            row=reject.row & (1 << FILE_SHIFT) - 1,
            file=(reject.file or files[reject.row >> FILE_SHIFT]) if several else "",
        )
        for reject in rejects
    ]
    return sorted(located, key=lambda reject: (files.index(reject.file) if several else 0, reject.row))


def _check_same_columns(first: TableSource, file: str, columns: Collection[str]) -> None:
    lacks, extra = [n for n in first.columns if n not in columns], [n for n in columns if n not in first.columns]
    if not (lacks or extra):
        return
    differences = [f"it lacks {format_names(lacks)}"] * bool(lacks) + [f"it also has {format_names(extra)}"] * bool(extra)
    raise TableError(f"{file} has other columns than {first.name}: {' and '.join(differences)}")


def _concatenated(blocks: list[TableBatch]) -> pl.DataFrame:
    """Concatenate blocks; a column with several types, such as from CSV and Parquet, becomes text."""
    types: dict[str, set[pl.DataType]] = {}
    for block in blocks:
        for name, kind in block.frame.schema.items():
            types.setdefault(name, set()).add(kind)
    mixed = {name for name, kinds in types.items() if len(kinds) > 1}
    frames = [block.frame.cast(dict.fromkeys(mixed.intersection(block.frame.columns), pl.String)) for block in blocks]
    return pl.concat(frames, how="diagonal")
