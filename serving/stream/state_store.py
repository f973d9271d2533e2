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

# The file itself may be good: it is locked, or the disk fails. The upper bits of a code only say more.
UNREADABLE_NOW = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)

Count = Annotated[int, msgspec.Meta(ge=0)]


class FilePosition(msgspec.Struct, frozen=True):
    """Start of the next line, and what identifies the file: its inode, its first bytes, and those before the position.

    Offsets count decompressed bytes. The inode is 0 if there was no file yet.
    """

    inode: int
    head: str  # SHA-256 of the first `head_bytes` bytes
    head_bytes: Count
    offset: Count
    row: Count
    tail: str = ""  # SHA-256 of the last `tail_bytes` bytes before the offset
    tail_bytes: Count = 0
    since: int | None = None  # rotated files last modified at or before this time (ns) were read before; None: unknown


class StateStore:
    """A state file; the first commit creates it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._has_tables = False  # as far as it was checked

    def position(self) -> FilePosition | None:
        """Return the committed position; None without a state file.

        Raises:
            StreamError: the file is not a state file.
        """
        if not self._path.exists():
            return None
        with self._read_errors():
            connection = self._open()
            row = connection.execute("select said from position").fetchone() if _has_our_tables(connection) else None
            return row and msgspec.json.decode(row[0], type=FilePosition)

    def records(self) -> Iterator[ChangelogRecord]:
        """Yield the records of windows, in the order in which they were written.

        Raises:
            StreamError: the file is not a state file.
        """
        if not self._path.exists():
            return
        with self._read_errors():
            if _has_our_tables(connection := self._open()):
                rows = connection.execute("select series, place, value from slots order by rowid")
                yield from (ChangelogRecord(PARTITION, *msgspec.convert(row, tuple[str, int, bytes])) for row in rows)

    def commit(self, position: FilePosition, changes: Sequence[ChangelogRecord]) -> None:
        """Write a position and the changes to windows since the last one.

        Raises:
            StreamError: the file cannot be written.
        """
        try:
            connection = self._open()
            if not self._has_tables:
                if not _has_our_tables(connection):
                    connection.executescript(TABLES)
                self._has_tables = True
            with connection:
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
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in UNREADABLE_NOW:  # errors of our own have no code
                raise StreamError(f"cannot read the position in {self._path}: {error}") from error
            message = f"{self._path} is not a valid state file: {error}"
            raise StreamError(f"{message}; name another one with --state, or delete it to start again") from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            # The scoring thread reads the state while the worker's thread waits for it.
            self._connection = sqlite3.connect(self._path, check_same_thread=False)
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
