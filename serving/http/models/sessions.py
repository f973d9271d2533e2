"""What is remembered of series between requests: of each session its window and where its alarm stands, in one place.

    async with sessions.turn(address) as held:    # one request after the other
        run = held.run(model)                     # it goes on from what is held, if that fits the model
        ...                                       # a request that fails raises here, and leaves what is held as it was
        held.keep(run, model)

A session belongs to the address at which it was begun: a name, or a version of it. It goes on under a new version of the name
if that reads the same columns, with the same codes, in windows of the same form; otherwise its window warms up anew. Of too
many sessions the one unheard of for longest is forgotten, and so is one that nobody asks for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from detector.manifest import Manifest
from detector.windows import State
from serving.http.models.model import Model

if TYPE_CHECKING:
    from detector.series import Series


LONGEST = 200  # characters of a key


class Address(NamedTuple):
    """Where a session is asked."""

    name: str
    version: str | None
    key: str


class Held:
    """What is remembered of one session."""

    __slots__ = ("_form", "_kept", "asked", "lock", "users")

    def __init__(self) -> None:
        self._kept = b""
        self._form: Hashable = None
        self.asked = 0.0
        self.lock = asyncio.Lock()
        self.users = 0  # requests that have it or wait for it

    def __bool__(self) -> bool:
        """Tell whether there is anything."""
        return bool(self._kept)

    def run(self, model: Model, key: str) -> Series:
        """Go on from what is held, or begin anew if that is of another form than the model's.

        Raises:
            SettingError: the model judges rows one by one.
        """
        run = model.scorer.series(1, key=key)
        run.restore(self._kept if self._form == _form(model.scorer.manifest) else b"")
        return run

    def keep(self, run: Series, model: Model) -> None:
        """Remember where a run stands."""
        self._kept, self._form = run.save(), _form(model.scorer.manifest)

    def state(self, manifest: Manifest) -> State | None:
        """Give what a model would go on from; None if its window would warm up anew."""
        if manifest.window is None or not self or self._form != _form(manifest):
            return None
        return State.from_bytes(self._kept, manifest.window.length, len(manifest.columns))


class Sessions:
    """Holds the sessions. Used by the loop's thread; what is counted may be read from any."""

    def __init__(self, most: int, idle: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Hold at most so many, and none that was not asked for `idle` seconds."""
        self._most = most
        self._idle = idle
        self._clock = clock
        self._changing = threading.Lock()
        self._held: OrderedDict[Address, Held] = OrderedDict()  # the one unheard of for longest is the first
        self._forgotten: Counter[tuple[str, str]] = Counter()  # by name and reason

    def find(self, address: Address) -> Held | None:
        """Give a session, as the latest request left it."""
        self._forget()
        held = self._held.get(address)
        return held or None

    def idle(self, held: Held) -> float:
        """Give for how many seconds nobody has asked."""
        return self._clock() - held.asked

    @contextlib.asynccontextmanager
    async def turn(self, address: Address) -> AsyncIterator[Held]:
        """Wait for one's turn; a session of which nothing is held afterwards is none."""
        held = await self._taken(address)
        try:
            yield held
        finally:
            held.lock.release()
            self._left(address, held)

    def end(self, address: Address, held: Held) -> None:
        """Forget a session, in its turn."""
        self._drop(address, held)

    def counts(self) -> Counter[str]:
        """Count the sessions of each name."""
        self._forget()
        with self._changing:
            return Counter(address.name for address, held in self._held.items() if held)

    def forgotten(self) -> Counter[tuple[str, str]]:
        """Count those that were forgotten, by name and reason: `idle` or `room`."""
        with self._changing:
            return self._forgotten.copy()

    async def _taken(self, address: Address) -> Held:
        """Give a session whose turn it is; one that was ended meanwhile is begun anew."""
        while True:
            held = self._entered(address)
            try:
                await held.lock.acquire()
            except BaseException:
                self._left(address, held)
                raise
            if self._held.get(address) is held:
                return held
            held.lock.release()
            self._left(address, held)

    def _entered(self, address: Address) -> Held:
        """Give a session that is used from here on, a new one if there is none."""
        self._forget()
        with self._changing:
            held = self._held.get(address)
            if held is None:
                held = self._held[address] = Held()
            held.users += 1
            held.asked = self._clock()
            self._held.move_to_end(address)
        return held

    def _left(self, address: Address, held: Held) -> None:
        """Let a session be without one of its users; one that is empty is kept for those alone who wait for it."""
        held.users -= 1
        if held:
            self._make_room()
        elif not held.users:
            self._drop(address, held)

    def _drop(self, address: Address, held: Held) -> None:
        with self._changing:
            if self._held.get(address) is held:
                del self._held[address]

    def _forget(self) -> None:
        """Forget those that nobody asked for too long."""
        with self._changing:
            late = [address for address, held in self._late() if not held.users]
            for address in late:
                del self._held[address]
                self._forgotten[address.name, "idle"] += 1

    def _late(self) -> Iterator[tuple[Address, Held]]:
        """Give those that are late, which stand first."""
        before = self._clock() - self._idle
        for address, held in self._held.items():
            if held.asked >= before:
                return
            yield address, held

    def _make_room(self) -> None:
        """Forget the one unheard of for longest, if there are too many and it is not in use."""
        with self._changing:
            if len(self._held) <= self._most:
                return
            for address, held in self._held.items():
                if not held.users:
                    del self._held[address]
                    self._forgotten[address.name, "room"] += 1
                    return


class Counted(Collector):
    """How many sessions there are, read when it is asked for."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def describe(self) -> list[Metric]:
        """Name nothing beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Count them."""
        held = GaugeMetricFamily("residuum_sessions", "Series that are remembered between requests.", labels=("model",))
        for name, count in self._sessions.counts().items():
            held.add_metric([name], count)
        forgotten = CounterMetricFamily(
            "residuum_sessions_forgotten", "Sessions that were forgotten, being idle or for room.", labels=("model", "reason")
        )
        for (name, reason), count in self._sessions.forgotten().items():
            forgotten.add_metric([name, reason], count)
        yield from (held, forgotten)


def _form(manifest: Manifest) -> Hashable:
    """Give what a window of a model is: the columns, the meaning of their codes, and how rows become windows."""
    window = manifest.window
    columns = tuple((each.name, each.kind, each.vocabulary, bool(each.rare)) for each in manifest.columns)
    return columns, window and (window.time, window.key, window.length, window.stride)
