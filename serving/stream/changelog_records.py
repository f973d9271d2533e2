"""Windows of series as changelog records: one record for each key and index in its ring buffer.

A record holds one row and the state of its key. A batch writes the rows that it brought, not whole windows; later rows overwrite
the records of earlier ones. `restore_windows` rebuilds windows from records. A record holds a hash of its layout (columns,
vocabularies, window); records of another layout are skipped, so their keys warm up again.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from detector.alarm import AlarmState
from detector.manifest import Manifest
from detector.windows import ChangedKey, KeyState, Window, Windows

_HEAD = struct.Struct("<4s8sqd")  # magic, layout hash, number of the row in its window's life, time of the newest row
_HEADER_SIZE = _HEAD.size + AlarmState.SIZE
_MAGIC = b"RSS1"


class ChangelogRecord(NamedTuple):
    """The row at one index of a key's ring buffer; None deletes it."""

    partition: int
    key: str
    ring_index: int
    value: bytes | None


def layout_hash(manifest: Manifest) -> bytes:
    """Return 8 bytes that are equal for models whose rows and windows have the same meaning."""
    columns = [(column.name, column.kind, column.vocabulary, column.rare) for column in manifest.columns]
    window = manifest.window and msgspec.structs.replace(manifest.window, tail=1)  # reasons alone depend on `tail`
    return hashlib.sha256(msgspec.json.encode((columns, window))).digest()[:8]


def encode_changes(partition: int, changed: ChangedKey, layout: bytes) -> Iterator[ChangelogRecord]:
    """Yield a record for each new row of a key; each holds the key's state, and the last one written is valid."""
    key, state, rows = changed
    alarm, length = state.alarm.to_bytes(), len(state.buffer)
    for number in range(state.seen - rows, state.seen):
        head = _HEAD.pack(_MAGIC, layout, number + 1, state.time)
        row = state.buffer[number % length].astype("<f8").tobytes()
        yield ChangelogRecord(partition, key, number % length, head + alarm + row)


def tombstones(partition: int, key: str, window: Window) -> Iterator[ChangelogRecord]:
    """Yield the records that delete a key."""
    return (ChangelogRecord(partition, key, index, None) for index in range(window.length))


def restore_windows(records: Iterable[ChangelogRecord], windows: Mapping[int, Windows], layout: bytes) -> tuple[int, int]:
    """Restore windows, by partition, from records in the order in which they were written.

    Skips a key whose newest rows are incomplete, for example because they have another layout. Returns the number of records
    read, and of keys skipped.
    """
    buffers: dict[tuple[int, str], _RingBuffer] = {}
    count = 0
    for record in records:
        count += 1
        series = record.partition, record.key
        buffer = buffers.pop(series, None) or _RingBuffer(windows[record.partition])
        buffers[series] = buffer  # keeps the key written last at the end
        buffer.apply(record, layout)
    skipped = 0
    for (partition, key), buffer in buffers.items():
        if buffer.is_complete():
            windows[partition].put(key, buffer.state)
        else:
            skipped += buffer.exists
    return count, skipped


class _RingBuffer:
    """Rows of one key."""

    def __init__(self, windows: Windows) -> None:
        self.state = KeyState(windows.window.length, windows.columns)
        self.newest = 0  # number of the newest row
        self.exists = False  # whether the last record was no tombstone
        self._numbers = np.zeros(windows.window.length, dtype=np.int64)

    def apply(self, record: ChangelogRecord, layout: bytes) -> None:
        value, index, state = record.value, record.ring_index, self.state
        if index >= len(self._numbers):
            return
        self._numbers[index] = 0
        self.exists = value is not None
        if value is None or len(value) != _HEADER_SIZE + 8 * state.buffer.shape[1]:
            return
        magic, record_layout, number, time = _HEAD.unpack_from(value)
        if magic != _MAGIC or record_layout != layout or number < 1 or (number - 1) % len(self._numbers) != index:
            return
        self._numbers[index] = self.newest = state.seen = number
        state.time, state.alarm = time, AlarmState.from_bytes(value[_HEAD.size : _HEADER_SIZE])
        state.buffer[index] = np.frombuffer(value, "<f8", offset=_HEADER_SIZE)

    def is_complete(self) -> bool:
        """Return whether all rows of the newest window are present."""
        length = len(self._numbers)
        numbers = np.arange(max(0, self.newest - length), self.newest)
        return bool(self.newest) and bool((self._numbers[numbers % length] == numbers + 1).all())
