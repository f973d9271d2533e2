"""History of the models: totals of each minute, and the latest alarms, in an SQLite database.

In a file it survives restarts; without one it is in memory. Its size is bounded: `KEPT_DAYS` of minutes and `KEPT_ALARMS`
alarms of each model. One thread reads and writes it, and only a request for the history waits for that thread. A failure is
logged, counted and shown, and changes nothing else; what could not be written is written with what comes next.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from serving.log import log
from serving.monitoring.alarms import AlarmEvent
from serving.monitoring.rolling import StatisticsDelta

T = TypeVar("T")

WRITE_INTERVAL = 5.0  # seconds
KEPT_DAYS = 30
KEPT_ALARMS = 1000
MAX_UNWRITTEN = 10_000  # minutes that wait for a disk that is full or gone
TIMEOUT = 2.0  # seconds that a start, a stop and a request wait for the disk
DELETE_INTERVAL = 3600  # seconds
APPLICATION = 0x52657369  # in the head of the file
FORMAT = 1
TABLES = (
    """CREATE TABLE minutes (model TEXT, at INTEGER, rows INTEGER, alarms INTEGER, max_score REAL, score_sum REAL,
    PRIMARY KEY (model, at)) WITHOUT ROWID""",
    "CREATE TABLE alarms (id INTEGER PRIMARY KEY, model TEXT, event BLOB)",
    "CREATE INDEX alarms_of_model ON alarms (model, id)",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {FORMAT}",
)
ADD_MINUTE = """INSERT INTO minutes VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    rows = rows + excluded.rows, alarms = alarms + excluded.alarms,
    max_score = max(max_score, excluded.max_score), score_sum = score_sum + excluded.score_sum"""
KEEP_LATEST = (
    "DELETE FROM alarms WHERE model = ?1 AND id <= (SELECT id FROM alarms WHERE model = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)"
)
POINTS = (
    "SELECT at / ?3 * ?3 AS start, sum(rows), sum(alarms), max(max_score), sum(score_sum) / sum(rows) FROM minutes "
    "WHERE model = ?1 AND at >= ?2 GROUP BY start ORDER BY start"
)

_ALARM = msgspec.msgpack.Decoder(AlarmEvent)


class HistoryError(Exception):
    """The history cannot be read."""


class HistoryPoint(msgspec.Struct, frozen=True):
    """Totals of a stretch of time."""

    at: int  # seconds since 1970
    rows: int
    alarms: int
    max_score: float | None
    mean_score: float | None


class MinuteTotals(msgspec.Struct):
    """Totals of the rows that were reported in one minute."""

    rows: int = 0
    alarms: int = 0
    max_score: float = -math.inf
    score_sum: float = 0.0

    def add(self, rows: int, alarms: int, max_score: float, score_sum: float) -> None:
        """Add rows."""
        self.rows += rows
        self.alarms += alarms
        self.max_score = max(self.max_score, max_score)
        self.score_sum += score_sum


class _Unwritten:
    """What the database does not have yet."""

    def __init__(self) -> None:
        self.minutes: defaultdict[tuple[str, int], MinuteTotals] = defaultdict(MinuteTotals)
        self.alarms: defaultdict[str, list[AlarmEvent]] = defaultdict(list)

    def __bool__(self) -> bool:
        return bool(self.minutes or self.alarms)

    def add(self, later: _Unwritten) -> None:
        """Add what came later; drop the oldest of what waits for too long."""
        for key, totals in later.minutes.items():
            self.minutes[key].add(*msgspec.structs.astuple(totals))
        for name, alarms in later.alarms.items():
            self.alarms[name] = [*self.alarms[name], *alarms][-KEPT_ALARMS:]
        for key in sorted(self.minutes, key=lambda key: key[1])[:-MAX_UNWRITTEN]:
            del self.minutes[key]


class History:
    """The history of all models; used by the event loop's thread only."""

    def __init__(self, path: Path | None, count_failure: Callable[[], None]) -> None:
        """Keep the history in a file, or in memory; each failure is counted."""
        self._path = path
        self._name = str(path or "the history")
        self._count_failure = count_failure
        self._thread = ThreadPoolExecutor(1, "history")
        self._database = _Database(path)
        self._unwritten = _Unwritten()
        self.problem = ""  # why the file is not used, or the latest failure

    @property
    def kept(self) -> Literal["file", "memory"]:
        """Where the history is."""
        return "file" if self._database.is_file else "memory"

    def add_rows(self, name: str, statistics: StatisticsDelta) -> None:
        """Add rows to the totals of the current minute."""
        minute = int(time.time()) // 60 * 60
        totals = self._unwritten.minutes[name, minute]
        totals.add(statistics.rows, statistics.anomalies, statistics.max_score, statistics.score_sum)

    def add_alarms(self, name: str, alarms: Sequence[AlarmEvent]) -> None:
        """Add alarms of a model."""
        self._unwritten.alarms[name] += alarms

    async def open(self) -> Mapping[str, Sequence[AlarmEvent]]:
        """Open the database, that in memory if the file cannot be used; return the latest alarms of each model."""
        try:
            async with self._limited():
                return await self._run(self._database.open)
        except HistoryError as error:
            self._failed(f"{error}; the history is kept in memory until the service is restarted")
        with contextlib.suppress(HistoryError):
            async with self._limited():
                await self._run(self._database.open_in_memory)
        return {}

    async def write(self) -> None:
        """Write what was added."""
        if not self._unwritten:
            return
        batch, self._unwritten = self._unwritten, _Unwritten()
        try:
            await self._run(self._database.write, batch.minutes, batch.alarms)
        except HistoryError as error:
            batch.add(self._unwritten)
            self._unwritten = batch
            self._failed(str(error))
        else:
            if self.kept == "file":
                self.problem = ""

    async def points(self, name: str, since: int, step: int) -> list[HistoryPoint]:
        """Return the totals of a model since a time, for each stretch of `step` seconds that had rows.

        Raises:
            HistoryError: the database cannot be read.
        """
        async with self._limited():
            await self.write()
            return await self._run(self._database.points, name, since, step)

    async def close(self) -> None:
        """Write what was added, and close the database; wait for a hanging disk only for a while."""
        with contextlib.suppress(HistoryError):
            async with self._limited():
                await self.write()
                await self._run(self._database.close)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        """Run a step in the thread of the database; it is completed even if nobody waits for it any longer.

        Raises:
            HistoryError: it failed.
        """
        try:
            return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments))
        except (sqlite3.Error, OSError) as error:
            raise HistoryError(f"cannot use {self._name}: {error}") from error

    @contextlib.asynccontextmanager
    async def _limited(self) -> AsyncIterator[None]:
        """Wait for the steps of a block only for a while.

        Raises:
            HistoryError: they take longer.
        """
        try:
            async with asyncio.timeout(TIMEOUT):
                yield
        except TimeoutError as error:
            raise HistoryError(f"{self._name} takes longer than {TIMEOUT:g} s") from error

    def _failed(self, problem: str) -> None:
        """Count a failure, and log it unless it is the latest one again."""
        self._count_failure()
        if problem != self.problem:
            log().warning("history failed", problem=problem)
        self.problem = problem


class _Database:
    """The database; used by one thread only."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)  # closed before the thread opens another
        self._deleted = 0.0  # when old minutes were deleted
        self.is_file = False

    def open(self) -> dict[str, list[AlarmEvent]]:
        """Open the file, and return its alarms."""
        if self._path is None:
            self.open_in_memory()
            return {}
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL, 0o600))  # alarms quote values
        self._connect(str(self._path))
        self.is_file = True
        found: dict[str, list[AlarmEvent]] = {}
        for name, event in self._connection.execute("SELECT model, event FROM alarms ORDER BY id"):
            with contextlib.suppress(msgspec.DecodeError):  # of a later version
                found.setdefault(name, []).append(_ALARM.decode(event))
        return found

    def open_in_memory(self) -> None:
        """Start an empty database."""
        self._connect(":memory:")
        self.is_file = False

    def write(self, minutes: Mapping[tuple[str, int], MinuteTotals], alarms: Mapping[str, Iterable[AlarmEvent]]) -> None:
        """Add minutes and alarms in one transaction, and delete what is too old."""
        now = time.time()
        with self._connection as connection:
            rows = [(*key, *msgspec.structs.astuple(totals)) for key, totals in minutes.items()]
            connection.executemany(ADD_MINUTE, rows)
            for name, events in alarms.items():
                encoded = [(name, msgspec.msgpack.encode(event)) for event in events]
                connection.executemany("INSERT INTO alarms (model, event) VALUES (?, ?)", encoded)
                connection.execute(KEEP_LATEST, (name, KEPT_ALARMS))
            if now > self._deleted + DELETE_INTERVAL:
                connection.execute("DELETE FROM minutes WHERE at < ?", (now - KEPT_DAYS * 86400,))
        if now > self._deleted + DELETE_INTERVAL:
            self._deleted = now

    def points(self, name: str, since: int, step: int) -> list[HistoryPoint]:
        """Return the totals of a model, for each stretch of `step` seconds that had rows."""
        return [HistoryPoint(*row) for row in self._connection.execute(POINTS, (name, since, step))]

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def _connect(self, path: str) -> None:
        """Connect to a database of this format, and create its tables.

        Raises:
            sqlite3.Error: it is another one.
        """
        self._connection.close()
        self._connection = connection = sqlite3.connect(path, timeout=TIMEOUT / 2)
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and (application, version) != (APPLICATION, FORMAT):
            raise sqlite3.DatabaseError("it is a database of another program, or of a later version")
        connection.execute("PRAGMA journal_mode = WAL")  # so that a reader does not stop the writer
        connection.execute("PRAGMA synchronous = NORMAL")
        if not tables:
            with connection:
                for statement in TABLES:
                    connection.execute(statement)
