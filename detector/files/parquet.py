"""Parquet: reads a slice of rows at a time, with the file's own types."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import polars as pl

from detector.batch import TableBatch
from detector.errors import TableError
from detector.files.source import SourceBase, check_wanted
from detector.files.stream import CountedFile

SLICE_BYTES = 16 << 20  # at eight bytes per cell
READ_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


class ParquetSource(SourceBase):
    """A table in Parquet."""

    def __init__(self, path: str) -> None:
        """Read the schema.

        Raises:
            TableError: the file does not exist, cannot be read, or is not Parquet.
        """
        file = CountedFile(path)
        file.close()
        self.name = path
        self.size = file.size
        self._scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        try:
            self.columns = tuple(self._scan.collect_schema())
            self._rows = int(self._scan.select(pl.len()).collect().item())
        except READ_ERRORS as error:
            raise TableError(f"{path} is not a Parquet file, or is damaged ({first_line(error)}): write it again") from error
        self._done = 0

    @property
    def position(self) -> int:
        """The number of bytes read from disk so far, if all rows had the same size."""
        return (self.size or 0) * self._done // max(self._rows, 1)

    def blocks(self, wanted: Sequence[str], numbers: Collection[str] = ()) -> Iterator[TableBatch]:  # noqa: ARG002 - the file has types
        """Yield the table in blocks.

        Raises:
            TableError: a wanted column is missing, or the file is damaged.
        """
        check_wanted(self.name, self.columns, wanted)
        return self._blocks(list(wanted))

    def _blocks(self, wanted: list[str]) -> Iterator[TableBatch]:
        rows = max(1, SLICE_BYTES // (8 * max(1, len(wanted))))
        for start in range(0, self._rows, rows):
            frame = self._read(wanted, start, rows)
            self._done = min(start + rows, self._rows)
            yield TableBatch(frame, np.arange(start + 1, self._done + 1, dtype=np.int64), [], 0)

    def _read(self, wanted: list[str], start: int, rows: int) -> pl.DataFrame:
        try:
            return self._scan.select(wanted).slice(start, rows).collect()
        except READ_ERRORS as error:
            raise TableError(f"{self.name} is damaged at row {start + 1} or after ({first_line(error)})") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return str(error).split("\n", 1)[0]
