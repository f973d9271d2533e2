"""The interface that the readers of CSV, NDJSON and Parquet files share: a table in blocks. `opening` chooses the reader."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Protocol, Self

import msgspec

from detector.batch import TableBatch
from detector.columns import format_names, suggest_names
from detector.errors import TableError


class ReadOptions(msgspec.Struct, frozen=True):
    """How cells are written, which a file itself does not state.

    `missing` holds additional words for a missing cell (besides empty, NA, N/A, NaN, null and None). `decimal_comma`: a
    comma does not separate fields where another character may, and numbers that are requested as such have decimal commas.
    `encoding` is that of text files without a byte order mark; "" is UTF-8. `ignored` are requested
    columns of which no cell matters, nor its encoding.
    """

    missing: tuple[str, ...] = ()
    decimal_comma: bool = False
    encoding: str = ""
    ignored: tuple[str, ...] = ()


class TableSource(Protocol):
    """A table in a file, read once from start to end; a context manager that closes the file."""

    @property
    def name(self) -> str:
        """The path as the user wrote it; `-` for standard input."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The column names, in order; for NDJSON those of its first block."""

    @property
    def size(self) -> int | None:
        """The number of bytes on disk; None if unknown, as for standard input."""

    @property
    def position(self) -> int:
        """The number of bytes read from disk so far, for a progress bar."""

    def blocks(self, wanted: Sequence[str], numbers: Collection[str] = ()) -> Iterator[TableBatch]:
        """Yield the table in blocks of a few megabytes.

        A column in `numbers` is Float64 if all its cells in the block are numbers, else the text of the file. Any other
        column is text, in which both null and "" mean an empty cell. Parquet columns keep their types.

        Raises:
            TableError: a wanted column is missing (for NDJSON raised after the last block), or the file is damaged.
        """

    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class SourceBase:
    """Base class of readers: closes the file at the end of a `with` block."""

    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def check_wanted(name: str, columns: Sequence[str], wanted: Iterable[str]) -> None:
    """Raise unless the file has all wanted columns.

    Raises:
        TableError: a column is missing; the message suggests similar names and lists the file's columns, unwanted first.
    """
    wanted = list(wanted)
    absent = [column for column in wanted if column not in columns]
    if absent:
        noun = "column" if len(absent) == 1 else "columns"
        listed = sorted(columns, key=set(wanted).__contains__)
        suggestion = suggest_names(absent, columns)
        raise TableError(f"{name} lacks the {noun} {format_names(absent)}{suggestion}; it has {format_names(listed)}")
