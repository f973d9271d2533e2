"""State file of a tailed file: the position and, for series, the windows at that position, in one SQLite transaction.

A batch writes only what it changed. Position and windows stay consistent if the process is killed or the disk is full.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from detector.errors import StreamError
from serving.stream.changelog_records import ChangelogRecord

PARTITION = -1  # files have no partitions
APPLICATION_ID = 0x52534D31  # marks a SQLite file as ours
TABLES = f"""
begin;
pragma application_id = {APPLICATION_ID};
create table position (one integer primary key check (one = 1), said blob not null);
create table slots (series text, place integer, value blob not null, unique (series, place));
commit;
"""

Count = Annotated[int, msgspec.Meta(ge=0)]


class FilePosition(msgspec.Struct, frozen=True):
    """Start of the next line, and the inode and first bytes that identify the file."""

    inode: int
    head: str  # SHA-256 of the first `head_bytes` bytes
    head_bytes: Count
    offset: Count
    row: Count


class StateStore:
    """A state file; the first commit creates it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def position(self) -> FilePosition | None:
        """Return the committed position; None without a state file.

        Raises:
            StreamError: the file is not a state file.
        """
        if not self._path.exists():
            return None
        with self._read_errors():
            row = self._open().execute("select said from position").fetchone()
            return row and msgspec.json.decode(row[0], type=FilePosition)

    def records(self) -> Iterator[ChangelogRecord]:
        """Yield the records of windows, in the order in which they were written.

        Raises:
            StreamError: the file is not a state file.
        """
        if not self._path.exists():
            return
        with self._read_errors():
            yield from (
                ChangelogRecord(PARTITION, *msgspec.convert(row, tuple[str, int, bytes]))
                for row in self._open().execute("select series, place, value from slots order by rowid")
            )

    def commit(self, position: FilePosition, changes: Sequence[ChangelogRecord]) -> None:
        """Write a position and the changes to windows since the last one.

        Raises:
            StreamError: the file cannot be written.
        """
        try:
            with self._open() as connection:
                connection.execute("insert or replace into position values (1, ?)", (msgspec.json.encode(position),))
                connection.executemany("delete from slots where series = ? and place = ?", _primary_keys(changes))
                connection.executemany("insert into slots values (?, ?, ?)", _final_rows(changes))
        except (sqlite3.Error, OSError) as error:
            message = f"cannot write the position to {self._path}: {error}; the last batch will be scored again after a restart"
            raise StreamError(message) from error

    def close(self) -> None:
        """Close the file."""
        if self._connection:
            self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _read_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, msgspec.DecodeError, UnicodeDecodeError, TypeError) as error:
            message = f"{self._path} is not a valid state file: {error}"
            raise StreamError(f"{message}; name another one by --state, or delete it to start again") from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            # The scoring thread reads the state while the worker's thread waits for it.
            connection = sqlite3.connect(self._path, check_same_thread=False)
            try:
                if not _has_our_tables(connection):
                    connection.executescript(TABLES)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection


def _has_our_tables(connection: sqlite3.Connection) -> bool:
    """Return whether a database has our tables, or none at all.

    Raises:
        sqlite3.DatabaseError: the tables are another program's.
    """
    (application_id,) = connection.execute("pragma application_id").fetchone()
    (tables,) = connection.execute("select count(*) from sqlite_schema").fetchone()
    if tables and application_id != APPLICATION_ID:
        raise sqlite3.DatabaseError("it is another program's database")
    return bool(tables)


def _primary_keys(changes: Iterable[ChangelogRecord]) -> Iterator[tuple[str, int]]:
    return ((record.key, record.ring_index) for record in changes)


def _final_rows(changes: Iterable[ChangelogRecord]) -> Iterator[tuple[str, int, bytes]]:
    """Yield the last value of each primary key, without deleted ones."""
    last = {(record.key, record.ring_index): record.value for record in changes}
    return ((key, index, value) for (key, index), value in last.items() if value is not None)
