"""Labels of image files from a table: a column of file names and a column of labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from detector.columns import format_names
from detector.errors import TableError
from detector.files import ReadOptions, open_source

FILE = "file"


def read_labels(table: str, label: str | None, inputs: Sequence[str]) -> Callable[[str], str | None]:
    """Return a function from an image's path to its label, or None for a file that the table does not list.

    The table has a column `file` and a column named `label` (by default the only other one). A file is listed by its path,
    absolute or relative to the working folder, to one of `inputs` or to the table's folder, or by its bare name.

    Raises:
        TableError: the table cannot be read, lacks a column, or has several columns that could be the labels.
    """
    with open_source(table, ReadOptions()) as source:
        others = [name for name in source.columns if name != FILE]
        if FILE not in source.columns:
            raise TableError(f"{table} has no column {FILE!r} of file names; it has {format_names(source.columns)}")
        if label is None and len(others) != 1:
            raise TableError(f"which column of {table} holds the labels? Name it with --label: {format_names(others)}")
        label = label or others[0]
        if label not in others:
            raise TableError(f"{table} has no column {label!r} of labels; it has {format_names(source.columns)}")
        rows = pl.concat(block.frame.cast(pl.String) for block in source.blocks([FILE, label]))
    by_name = {file: text for file, text in rows.iter_rows() if file and text}
    roots = [Path(), Path(table).parent, *(Path(path) for path in inputs)]
    by_path = {str((root / file).absolute()): text for root in roots for file, text in by_name.items()}
    return lambda file: by_path.get(str(Path(file).absolute()), by_name.get(Path(file).name))
