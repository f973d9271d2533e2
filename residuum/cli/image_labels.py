"""Labels of images that stand in a table: a column of file names, and one of labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from detector.columns import format_names
from detector.errors import TableError
from detector.files import ReadOptions, open_source

FILE = "file"


def labels_of(table: str, label: str | None, given: Sequence[str]) -> Callable[[str], str | None]:
    """Give what tells a file's label; nothing for a file that the table does not name.

    The table has a column `file`, of paths as they were given, or from a folder that was, or from the table's own, or bare
    names; and a column named `label`, by default the only other one.

    Raises:
        TableError: the table cannot be read, lacks a column, or leaves open which one holds the labels.
    """
    with open_source(table, ReadOptions()) as source:
        others = [name for name in source.columns if name != FILE]
        if FILE not in source.columns:
            raise TableError(f"{table} has no column {FILE!r} of file names; it has {format_names(source.columns)}")
        if label is None and len(others) != 1:
            raise TableError(f"which column of {table} holds the labels? Name it by --label; there are {format_names(others)}")
        wanted = [FILE, label or others[0]]
        if wanted[1] not in others:
            raise TableError(f"{table} has no column {label!r} of labels; it has {format_names(source.columns)}")
        rows = pl.concat(block.frame.cast(pl.String) for block in source.blocks(wanted))
    known = {file: said for file, said in rows.iter_rows() if file and said}
    roots = [Path(), Path(table).parent, *(Path(path) for path in given)]
    by_path = {str((root / file).absolute()): said for root in roots for file, said in known.items()}
    return lambda file: by_path.get(str(Path(file).absolute()), known.get(Path(file).name))
