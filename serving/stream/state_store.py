"""The state file of a followed file: its position and, of series, the windows at that position, in one SQLite transaction.

A batch writes what it changed and no more. The two stay together through sudden ends and full disks.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from detector.errors import StreamError
from serving.stream.changelog_records import Slot

PARTITION = -1  # of lines
OURS = 0x52534D31  # by which SQLite tells one program's files from another's
TABLES = f"""
begin;
pragma application_id = {OURS};
create table position (one integer primary key check (one = 1), said blob not null);
create table slots (series text, place integer, value blob not null, unique (series, place));
commit;
"""

Count = Annotated[int, msgspec.Meta(ge=0)]


class Position(msgspec.Struct, frozen=True):
    """Where the next line begins: in the file that had this inode and began with these bytes."""

    inode: int
    head: str  # SHA-256 of the first `head_bytes` bytes
    head_bytes: Count
    offset: Count
    row: Count


class Standing:
    """A state file; it is made with the first commit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: sqlite3.Connection | None = None

    def position(self) -> Position | None:
        """Give where a worker stood, if one did.

        Raises:
            StreamError: the file is no state file.
        """
        if not self._path.exists():
            return None
        with self._reading():
            found = self._connection().execute("select said from position").fetchone()
            return found and msgspec.json.decode(found[0], type=Position)

    def slots(self) -> Iterator[Slot]:
        """Give the windows, in the order in which they were written.

        Raises:
            StreamError: the file is no state file.
        """
        if not self._path.exists():
            return
        with self._reading():
            yield from (
                Slot(PARTITION, *msgspec.convert(found, tuple[str, int, bytes]))
                for found in self._connection().execute("select series, place, value from slots order by rowid")
            )

    def commit(self, position: Position, slots: Sequence[Slot]) -> None:
        """Write a position down, and what changed on the way to it.

        Raises:
            StreamError: it cannot be written.
        """
        try:
            with self._connection() as connection:
                connection.execute("insert or replace into position values (1, ?)", (msgspec.json.encode(position),))
                connection.executemany("delete from slots where series = ? and place = ?", _places(slots))
                connection.executemany("insert into slots values (?, ?, ?)", _values(slots))
        except (sqlite3.Error, OSError) as error:
            raise StreamError(f"cannot write the position to {self._path}: {error}; the last batch will come again") from error

    def close(self) -> None:
        """Close the file."""
        if self._open:
            self._open.close()
            self._open = None

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, msgspec.DecodeError, UnicodeDecodeError, TypeError) as error:
            what = f"{self._path} holds no position: {error}"
            raise StreamError(f"{what}; name another by --state, or delete it to begin anew") from error

    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            # Two threads call, one after the other: one recalls while the other waits for it.
            made = sqlite3.connect(self._path, check_same_thread=False)
            try:
                if not _is_ours(made):
                    made.executescript(TABLES)
            except BaseException:
                made.close()
                raise
            self._open = made
        return self._open


def _is_ours(opened: sqlite3.Connection) -> bool:
    """Tell whether a database is ours; if not, it is empty.

    Raises:
        sqlite3.DatabaseError: it is another program's.
    """
    ((mark,),), ((tables,),) = map(opened.execute, ("pragma application_id", "select count(*) from sqlite_schema"))
    if tables and mark != OURS:
        raise sqlite3.DatabaseError("it is another program's database")
    return bool(tables)


def _places(slots: Iterable[Slot]) -> Iterator[tuple[str, int]]:
    return ((slot.key, slot.place) for slot in slots)


def _values(slots: Iterable[Slot]) -> Iterator[tuple[str, int, bytes]]:
    """Give what stands in the slots in the end."""
    last = {(slot.key, slot.place): slot.value for slot in slots}
    return ((*place, value) for place, value in last.items() if value is not None)
