"""Series that continue from request to request: the window and the alarm of each session, in one place.

    async with sessions.turn(address) as stored:  # one request at a time
        session = stored.resume(model, key)       # continues from what is stored, if that fits the model
        ...                                       # a request that fails raises here and changes nothing
        stored.save(session, model)

A session belongs to the address at which it was started: a name, or a version of it. It continues under a new version of the
name if that reads the same columns, with the same codes, in windows of the same form; otherwise its window warms up anew.
Of too many sessions the least recently used one is dropped, and so is one that is idle for too long.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from detector.inputs import SeriesSession
from detector.manifest import Manifest
from detector.windows import KeyState
from serving.model import ServedModel

MAX_KEY_LENGTH = 200  # characters


class SessionAddress(NamedTuple):
    """Where a session is addressed."""

    name: str
    version: str | None
    key: str


class StoredSession:
    """What is kept of one session."""

    __slots__ = ("_content", "_layout", "lock", "used", "users")

    def __init__(self) -> None:
        self._content = b""
        self._layout: Hashable = None
        self.used = 0.0  # when, by the store's clock
        self.lock = asyncio.Lock()
        self.users = 0  # requests that hold it or wait for it

    def __bool__(self) -> bool:
        """Return whether anything is stored."""
        return bool(self._content)

    def resume(self, model: ServedModel, key: str) -> SeriesSession:
        """Continue from what is stored, or start anew if that is of another form than the model's.

        Raises:
            SettingError: the model scores rows one by one.
        """
        session = model.scorer.series(1, key=key)
        session.restore(self._content if self._layout == _layout(model.scorer.manifest) else b"")
        return session

    def save(self, session: SeriesSession, model: ServedModel) -> None:
        """Store the state of a session."""
        self._content, self._layout = session.save(), _layout(model.scorer.manifest)

    def state(self, manifest: Manifest) -> KeyState | None:
        """Return the state that a model would continue from; None if its window would warm up anew."""
        if manifest.window is None or not self or self._layout != _layout(manifest):
            return None
        return KeyState.from_bytes(self._content, manifest.window.length, len(manifest.columns))


class SessionStore:
    """Stores sessions. Used by the event loop's thread; counts may be read from any thread."""

    def __init__(self, max_sessions: int, max_idle: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep at most `max_sessions`, and none that is idle for more than `max_idle` seconds."""
        self._max_sessions = max_sessions
        self._max_idle = max_idle
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: OrderedDict[SessionAddress, StoredSession] = OrderedDict()  # the least recently used first
        self._dropped: Counter[tuple[str, str]] = Counter()  # by name and reason

    def find(self, address: SessionAddress) -> StoredSession | None:
        """Return a session as the latest request left it."""
        self._drop_idle()
        stored = self._sessions.get(address)
        return stored or None

    def idle_seconds(self, stored: StoredSession) -> float:
        """Return the time since the latest request."""
        return self._clock() - stored.used

    @contextlib.asynccontextmanager
    async def turn(self, address: SessionAddress) -> AsyncIterator[StoredSession]:
        """Wait for the earlier requests of a session; one that is empty afterwards is not kept."""
        stored = await self._acquire(address)
        try:
            yield stored
        finally:
            stored.lock.release()
            self._leave(address, stored)

    def end(self, address: SessionAddress, stored: StoredSession) -> None:
        """Delete a session, during its turn."""
        self._remove(address, stored)

    def counts(self) -> Counter[str]:
        """Return the number of sessions of each name."""
        self._drop_idle()
        with self._lock:
            return Counter(address.name for address, stored in self._sessions.items() if stored)

    def dropped(self) -> Counter[tuple[str, str]]:
        """Return how many were dropped, by name and reason: `idle` or `room`."""
        with self._lock:
            return self._dropped.copy()

    async def _acquire(self, address: SessionAddress) -> StoredSession:
        """Return a session whose turn it is; one that was ended meanwhile starts anew."""
        while True:
            stored = self._enter(address)
            try:
                await stored.lock.acquire()
            except BaseException:
                self._leave(address, stored)
                raise
            if self._sessions.get(address) is stored:
                return stored
            stored.lock.release()
            self._leave(address, stored)

    def _enter(self, address: SessionAddress) -> StoredSession:
        self._drop_idle()
        with self._lock:
            stored = self._sessions.get(address)
            if stored is None:
                stored = self._sessions[address] = StoredSession()
            stored.users += 1
            stored.used = self._clock()
            self._sessions.move_to_end(address)
        return stored

    def _leave(self, address: SessionAddress, stored: StoredSession) -> None:
        """Release a session; an empty one is kept only while others wait for it."""
        stored.users -= 1
        if stored:
            self._make_room()
        elif not stored.users:
            self._remove(address, stored)

    def _remove(self, address: SessionAddress, stored: StoredSession) -> None:
        with self._lock:
            if self._sessions.get(address) is stored:
                del self._sessions[address]

    def _drop_idle(self) -> None:
        with self._lock:
            idle = [address for address, stored in self._idle() if not stored.users]
            for address in idle:
                del self._sessions[address]
                self._dropped[address.name, "idle"] += 1

    def _idle(self) -> Iterator[tuple[SessionAddress, StoredSession]]:
        """Yield the sessions that are idle for too long; they are the first."""
        before = self._clock() - self._max_idle
        for address, stored in self._sessions.items():
            if stored.used >= before:
                return
            yield address, stored

    def _make_room(self) -> None:
        """Drop the least recently used session that is not in use, if there are too many."""
        with self._lock:
            if len(self._sessions) <= self._max_sessions:
                return
            for address, stored in self._sessions.items():
                if not stored.users:
                    del self._sessions[address]
                    self._dropped[address.name, "room"] += 1
                    return


class SessionMetricsCollector(Collector):
    """How many sessions there are, read at each scrape."""

    def __init__(self, sessions: SessionStore) -> None:
        self._sessions = sessions

    def describe(self) -> list[Metric]:
        """Return nothing: the metrics are not known beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Count the sessions."""
        sessions = GaugeMetricFamily("residuum_sessions", "Sessions of series that are kept.", labels=("model",))
        for name, count in self._sessions.counts().items():
            sessions.add_metric([name], count)
        dropped = CounterMetricFamily(
            "residuum_sessions_forgotten",
            "Sessions that were dropped, because they were idle or to make room.",
            labels=("model", "reason"),
        )
        for (name, reason), count in self._sessions.dropped().items():
            dropped.add_metric([name, reason], count)
        yield from (sessions, dropped)


def _layout(manifest: Manifest) -> Hashable:
    """Return what a stored window depends on: the columns, the meaning of their codes, and how rows become windows."""
    window = manifest.window
    columns = tuple((column.name, column.kind, column.vocabulary, bool(column.rare)) for column in manifest.columns)
    return columns, window and (window.time, window.key, window.length, window.stride)
