"""What every reader promises: a table in blocks. The readers themselves are picked in `opening`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Protocol, Self

import msgspec

from detector.batch import TableBatch
from detector.columns import format_names, suggest_names
from detector.errors import TableError


class ReadOptions(msgspec.Struct, frozen=True):
    """How cells are written, where a file cannot say so itself.

    `missing` holds further words for a missing cell (beside empty, NA, N/A, NaN, null and None); `decimal_comma` reads
    1,5 as one and a half.
    """

    missing: tuple[str, ...] = ()
    decimal_comma: bool = False


class TableSource(Protocol):
    """A table in a file. It is read once, front to back, and closed by its `with` block."""

    @property
    def name(self) -> str:
        """The file as the user wrote it, `-` for standard input."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names in the file, in order; for NDJSON those of its first block."""

    @property
    def size(self) -> int | None:
        """Bytes on disk; None where nobody knows, as for standard input."""

    @property
    def position(self) -> int:
        """Bytes on disk that were consumed so far: with `size`, a progress bar."""

    def blocks(self, wanted: Sequence[str], numbers: Collection[str] = ()) -> Iterator[TableBatch]:
        """Give the table in blocks of a few megabytes.

        A column in `numbers` comes as Float64 where its whole block is clean, else as the text that stands in the
        file; any other column as text, in which null and "" both mean an empty cell. Parquet keeps its own types.

        Raises:
            TableError: a wanted column is not there (in NDJSON known after the last block), or the file turns out to be
                damaged.
        """

    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class SourceBase:
    """The `with` block of a source."""

    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def check_wanted(name: str, columns: Sequence[str], wanted: Iterable[str]) -> None:
    """Refuse a column that the file lacks.

    Raises:
        TableError: with the nearest names and those that are there, the unwanted ones first.
    """
    wanted = list(wanted)
    absent = [column for column in wanted if column not in columns]
    if absent:
        near, there = suggest_names(absent, columns), sorted(columns, key=set(wanted).__contains__)
        raise TableError(
            f"{name} lacks the column{'s'[len(absent) == 1 :]} {format_names(absent)}{near}; it has {format_names(there)}"
        )
