"""Windows of series in memory: one state per partition, valid for the partition's committed position.

`begin_batch` undoes the changes of a batch that was not delivered, drops partitions that were revoked, and restores partitions
that were assigned. `changes` yields what the batch changed, to be stored with its position; `commit` accepts the changes once
they are stored. A key in two partitions is two series, because nothing orders the rows of one partition relative to another's.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from detector.inputs import SeriesSession
from detector.windows import MAX_KEYS, Window
from serving.log import log
from serving.model import ServedModel
from serving.stream import changelog_records
from serving.stream.changelog_records import ChangelogRecord

ReadState = Callable[[Sequence[int]], Iterable[ChangelogRecord]]


class StateObserver(Protocol):
    """Receives the size of the state; `stream.metrics` implements it."""

    def set_series(self, keys: int, size: int) -> None:
        """Set the number of keys in memory, and the approximate number of bytes that they take."""

    def evicted(self, keys: int) -> None:
        """Count keys that were evicted to stay within the memory limit."""

    def restored(self, records: int, seconds: float) -> None:
        """Count the records, and the seconds, that restoring partitions took."""


class PartitionState(NamedTuple):
    """Series of a partition, and the number of its assignment."""

    assignment: int
    series: SeriesSession


class SeriesState:
    """Windows of all series of one worker; empty for a model that scores single rows."""

    def __init__(self, model: ServedModel, observer: StateObserver, max_bytes: int | None = None) -> None:
        """Start empty; `max_bytes` is the approximate memory for windows, None for that of a million keys."""
        self._observer = observer
        self._max_bytes = max_bytes
        self._partitions: dict[int, PartitionState] = {}
        self._active: dict[int, SeriesSession] = {}  # partitions of the current batch, until `commit`
        self._evicted = 0
        self._set_model(model)

    @property
    def window(self) -> Window | None:
        """The model's window; None for a model that scores single rows."""
        return self._model.scorer.manifest.window

    def change_model(self, model: ServedModel) -> None:
        """Switch to another version; windows stay if its columns and window are the same, else all keys warm up."""
        self._rollback()
        layout = self._layout
        self._set_model(model)
        partitions, self._partitions = self._partitions, {}
        if self._layout == layout:
            for partition, (assignment, old) in partitions.items():
                series = self._new_series()
                series.windows = old.windows
                self._partitions[partition] = PartitionState(assignment, series)
        elif partitions:
            log().warning("all series warm up: the new version has other columns or another window", version=model.version)

    def begin_batch(self, assignments: Mapping[int, int], partitions: Sequence[int], read_state: ReadState) -> None:
        """Restore the state after the last delivered batch; `partitions` are those of the new batch.

        Raises:
            ConnectionLost, StreamError: the state cannot be read.
        """
        self._rollback()
        self._partitions = {
            partition: state for partition, state in self._partitions.items() if assignments.get(partition) == state.assignment
        }
        if self.window is None:
            return
        if absent := [partition for partition in partitions if partition not in self._partitions]:
            self._restore({partition: assignments[partition] for partition in absent}, read_state)
        self._active = {partition: self._partitions[partition].series for partition in partitions}
        for series in self._active.values():
            series.windows.savepoint()

    def series(self, partition: int) -> SeriesSession:
        """Return the series of a partition of the current batch."""
        return self._active[partition]

    def changes(self) -> Iterator[ChangelogRecord]:
        """Yield what the batch changed, and the deletions of keys that exceed the memory limit."""
        for partition, series in self._active.items():
            for changed in series.windows.changed():
                yield from changelog_records.encode_changes(partition, changed, self._layout)
        yield from self._evict()

    def commit(self) -> None:
        """Accept the changes of the batch: they are stored with its position."""
        for series in self._active.values():
            series.windows.release()
        if self._active:
            self._observer.evicted(self._evicted)
            self._report_size()
        self._active, self._evicted = {}, 0

    def _rollback(self) -> None:
        for series in self._active.values():
            series.windows.rollback()
        self._active, self._evicted = {}, 0

    def _set_model(self, model: ServedModel) -> None:
        self._model = model
        self._layout = changelog_records.layout_hash(model.scorer.manifest)

    def _new_series(self) -> SeriesSession:
        return self._model.scorer.series(sys.maxsize)  # `_evict` limits the partitions together, and writes tombstones

    def _restore(self, assignments: Mapping[int, int], read_state: ReadState) -> None:
        began = time.perf_counter()
        series = {partition: self._new_series() for partition in assignments}
        windows = {partition: one.windows for partition, one in series.items()}
        records, skipped = changelog_records.restore_windows(read_state(list(assignments)), windows, self._layout)
        self._partitions |= {partition: PartitionState(number, series[partition]) for partition, number in assignments.items()}
        seconds = time.perf_counter() - began
        self._observer.restored(records, seconds)
        self._report_size()
        if records:
            fields = {"partitions": sorted(assignments), "keys": sum(map(len, windows.values())), "skipped": skipped}
            log().info("series restored", **fields, records=records, seconds=round(seconds, 3))

    def _evict(self) -> Iterator[ChangelogRecord]:
        """Forget the coldest keys beyond the limit, in the batch's partitions alone: only they are known to be assigned still."""
        for _ in range(self._key_count() - self._max_keys()):
            partition, series = max(self._active.items(), key=lambda item: len(item[1].windows))
            if not len(series.windows):
                return
            key = series.windows.oldest()
            series.windows.drop(key)
            self._evicted += 1
            yield from changelog_records.tombstones(partition, key, series.windows.window)

    def _max_keys(self) -> int:
        if self._max_bytes is None or not self._partitions:
            return MAX_KEYS
        key_bytes = next(iter(self._partitions.values())).series.windows.key_bytes
        return max(1, min(MAX_KEYS, self._max_bytes // key_bytes))

    def _key_count(self) -> int:
        return sum(len(state.series.windows) for state in self._partitions.values())

    def _report_size(self) -> None:
        windows = [state.series.windows for state in self._partitions.values()]
        self._observer.set_series(self._key_count(), sum(len(each) * each.key_bytes for each in windows))
