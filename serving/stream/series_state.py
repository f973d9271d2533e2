"""What a worker remembers of series: a run for each partition, which stands where the partition's position stands.

`begin` undoes what a batch did that was not delivered, forgets partitions that went away and recalls those that came; `slots`
are what the batch changed, to be kept with its position; `settle` says that this has happened. A key in two partitions is two
series, because nothing orders the rows of one partition among those of another.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from detector.series import Series
from detector.windows import MOST_KEYS, Window
from serving.log import log
from serving.model import Model
from serving.stream import changelog_records
from serving.stream.changelog_records import Slot

Recall = Callable[[Sequence[int]], Iterable[Slot]]


class Counted(Protocol):
    """Who is told what is remembered; `stream.metrics` is one."""

    def remembered(self, keys: int, size: int) -> None:
        """Take how many keys are remembered, and how many bytes that takes, about."""

    def evicted(self, keys: int) -> None:
        """Take that keys were forgotten for want of memory."""

    def restored(self, records: int, seconds: float) -> None:
        """Take that partitions were recalled."""


class Held(NamedTuple):
    """A partition's run, and the number of the time that the partition became ours."""

    tenure: int
    run: Series


class Runs:
    """The runs of one worker; of a model that judges single rows there is none."""

    def __init__(self, model: Model, counted: Counted, most_bytes: int | None = None) -> None:
        """Take how much memory windows may take, about; None: as much as a million keys'."""
        self._counted = counted
        self._most_bytes = most_bytes
        self._held: dict[int, Held] = {}
        self._at_work: dict[int, Series] = {}  # since the last `settle`
        self._evicted = 0
        self._take(model)

    @property
    def window(self) -> Window | None:
        """How rows become windows, if they do."""
        return self._model.scorer.manifest.window

    def take_up(self, model: Model) -> None:
        """Go on by another version: with the same columns and window the windows stay, else all keys warm up."""
        self._undo()
        before = self._layout
        self._take(model)
        held, self._held = self._held, {}
        if self._layout == before:
            for partition, (tenure, old) in held.items():
                run = self._new_run()
                run.windows = old.windows
                self._held[partition] = Held(tenure, run)
        elif held:
            log().warning("all series warm up: the new version has other columns or another window", version=model.version)

    def begin(self, ours: Mapping[int, int], needed: Sequence[int], recall: Recall) -> None:
        """Stand as after the last batch that was delivered; `ours` are the partitions with their tenures.

        Raises:
            Lost, StreamError: what was remembered cannot be read.
        """
        self._undo()
        self._held = {partition: held for partition, held in self._held.items() if ours.get(partition) == held.tenure}
        if self.window is None:
            return
        if absent := [partition for partition in needed if partition not in self._held]:
            self._recall({partition: ours[partition] for partition in absent}, recall)
        self._at_work = {partition: self._held[partition].run for partition in needed}
        for run in self._at_work.values():
            run.windows.savepoint()

    def run(self, partition: int) -> Series:
        """Give the run of a partition that is at work."""
        return self._at_work[partition]

    def slots(self) -> Iterator[Slot]:
        """Give what the batch changed; keys for which there is no room are forgotten."""
        for partition, run in self._at_work.items():
            for changed in run.windows.changed():
                yield from changelog_records.written(partition, changed, self._layout)
        yield from self._evict()

    def settle(self) -> None:
        """Take that what was changed is kept where the position is."""
        for run in self._at_work.values():
            run.windows.release()
        if self._at_work:
            self._counted.evicted(self._evicted)
            self._tell()
        self._at_work, self._evicted = {}, 0

    def _undo(self) -> None:
        """Stand as before the batch that was not delivered."""
        for run in self._at_work.values():
            run.windows.rollback()
        self._at_work, self._evicted = {}, 0

    def _take(self, model: Model) -> None:
        self._model = model
        self._layout = changelog_records.layout(model.scorer.manifest)

    def _new_run(self) -> Series:
        return self._model.scorer.series(sys.maxsize)  # all runs are bounded together, and what is forgotten has to be told

    def _recall(self, tenures: Mapping[int, int], recall: Recall) -> None:
        """Make the windows of partitions that came."""
        began = time.perf_counter()
        runs = {partition: self._new_run() for partition in tenures}
        windows = {partition: run.windows for partition, run in runs.items()}
        read, left_out = changelog_records.rebuild(recall(list(tenures)), windows, self._layout)
        self._held |= {partition: Held(tenure, runs[partition]) for partition, tenure in tenures.items()}
        took = time.perf_counter() - began
        self._counted.restored(read, took)
        self._tell()
        if read:
            keys = sum(map(len, windows.values()))
            told = {"partitions": sorted(tenures), "keys": keys, "left_out": left_out, "records": read}
            log().info("series recalled", **told, seconds=round(took, 3))

    def _evict(self) -> Iterator[Slot]:
        """Forget the coldest keys while there are too many; only of partitions at work, which are known to be ours."""
        for _ in range(self._keys() - self._most_keys()):
            partition, run = max(self._at_work.items(), key=lambda one: len(one[1].windows))
            if not len(run.windows):
                return
            key = run.windows.coldest()
            run.windows.forget(key)
            self._evicted += 1
            yield from changelog_records.emptied(partition, key, run.windows.window)

    def _most_keys(self) -> int:
        """Give how many keys there is room for."""
        if self._most_bytes is None or not self._held:
            return MOST_KEYS
        size = next(iter(self._held.values())).run.windows.key_bytes
        return max(1, min(MOST_KEYS, self._most_bytes // size))

    def _keys(self) -> int:
        return sum(len(held.run.windows) for held in self._held.values())

    def _tell(self) -> None:
        size = sum(len(held.run.windows) * held.run.windows.key_bytes for held in self._held.values())
        self._counted.remembered(self._keys(), size)
