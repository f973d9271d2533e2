"""Reading whole tables, for the tests beside this file."""

import csv
import io
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from detector.files import ReadOptions, blocks, open_source
from detector.files.fast_reader import FastReader
from detector.rejects import Reject


class Table(NamedTuple):
    columns: tuple[str, ...]
    cells: list[tuple[object, ...]]  # "" and null are both None
    rows: list[int]
    rejects: list[Reject]
    blank: int
    frames: list[pl.DataFrame]

    @property
    def rejected(self) -> list[int]:
        return [reject.row for reject in self.rejects]


def read(
    path: Path | str,
    wanted: Sequence[str] | None = None,
    numbers: Collection[str] = (),
    options: ReadOptions | None = None,
) -> Table:
    with open_source(str(path), options or ReadOptions()) as source:
        columns = source.columns
        found = list(source.blocks(columns if wanted is None else wanted, numbers))
    return Table(
        columns,
        [tuple(None if cell == "" else cell for cell in row) for block in found for row in block.frame.rows()],
        [int(row) for block in found for row in block.rows],
        [reject for block in found for reject in block.rejects],
        sum(block.blank for block in found),
        [block.frame for block in found],
    )


def read_bytes(folder: Path, data: bytes, *, block: int = 4 << 20, slow: bool = False, **how: object) -> Table:
    """Read bytes as a CSV file, in blocks of a size, or record by record."""
    path = folder / "table.csv"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", block)
        if slow:
            patch.setattr(FastReader, "read", lambda _self, _block: None)
        return read(path, **how)


def written(rows: Sequence[Sequence[str]], **dialect: object) -> bytes:
    """Write rows as Python's csv module does."""
    text = io.StringIO(newline="")
    csv.writer(text, **dialect).writerows(rows)
    return text.getvalue().encode()
