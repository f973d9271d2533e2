"""Windows as they are kept outside: one record for each key and place in its ring, the newest row and where its key stands.

A batch writes the rows that it brought, not whole windows; the next lap of the ring overwrites them. `rebuilt` makes windows
of them again. A record names the layout that it was made for: columns, vocabularies, window; one of another layout is passed
over, so its key warms up.
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
from detector.windows import Changed, State, Window, Windows

_HEAD = struct.Struct("<4s8sqd")  # mark, layout, the row's number in its window's life, the newest row's time
_BODY = _HEAD.size + AlarmState.SIZE
_MARK = b"RSS1"


class Slot(NamedTuple):
    """What stands at one place of one key's ring; None: nothing any more."""

    partition: int
    key: str
    place: int
    value: bytes | None


def layout(manifest: Manifest) -> bytes:
    """Give eight bytes that are the same where rows and windows mean the same."""
    columns = [(column.name, column.kind, column.vocabulary, column.rare) for column in manifest.columns]
    window = manifest.window and msgspec.structs.replace(manifest.window, tail=1)  # of which only reasons speak
    return hashlib.sha256(msgspec.json.encode((columns, window))).digest()[:8]


def written(partition: int, changed: Changed, made_for: bytes) -> Iterator[Slot]:
    """Give the slots of the rows that came; where their key stands is said by each, and holds for the last one."""
    key, state, rows = changed
    alarm, length = state.alarm.to_bytes(), len(state.rows)
    for number in range(state.seen - rows, state.seen):
        head = _HEAD.pack(_MARK, made_for, number + 1, state.time)
        yield Slot(partition, key, number % length, head + alarm + state.rows[number % length].astype("<f8").tobytes())


def emptied(partition: int, key: str, window: Window) -> Iterator[Slot]:
    """Give the slots of a key that is forgotten."""
    return (Slot(partition, key, place, None) for place in range(window.length))


def rebuild(slots: Iterable[Slot], into: Mapping[int, Windows], made_for: bytes) -> tuple[int, int]:
    """Make windows of slots, by partition, in the order in which they were written; gives how many slots and keys left out.

    A key is left out whose newest rows are not all there, as where they are of another layout.
    """
    rings: dict[tuple[int, str], _Ring] = {}
    read = 0
    for slot in slots:
        read += 1
        whose = slot.partition, slot.key
        ring = rings.pop(whose, None) or _Ring(into[slot.partition])
        rings[whose] = ring  # the key written last is the last one
        ring.take(slot, made_for)
    left_out = 0
    for (partition, key), ring in rings.items():
        if ring.is_whole():
            into[partition].put(key, ring.state)
        else:
            left_out += ring.was_there
    return read, left_out


class _Ring:
    """One key's slots."""

    def __init__(self, windows: Windows) -> None:
        self.state = State(windows.window.length, windows.columns)
        self.head = 0  # the newest row's number
        self.was_there = False  # and not forgotten
        self._numbers = np.zeros(windows.window.length, dtype=np.int64)

    def take(self, slot: Slot, made_for: bytes) -> None:
        """Take a slot."""
        value, place, state = slot.value, slot.place, self.state
        if place >= len(self._numbers):
            return
        self._numbers[place] = 0
        self.was_there = value is not None
        if value is None or len(value) != _BODY + 8 * state.rows.shape[1]:
            return
        mark, layout_, number, time = _HEAD.unpack_from(value)
        if mark != _MARK or layout_ != made_for or number < 1 or (number - 1) % len(self._numbers) != place:
            return
        self._numbers[place] = self.head = state.seen = number
        state.time, state.alarm = time, AlarmState.from_bytes(value[_HEAD.size : _BODY])
        state.rows[place] = np.frombuffer(value, "<f8", offset=_BODY)

    def is_whole(self) -> bool:
        """Tell whether all rows of the newest window are there."""
        length = len(self._numbers)
        wanted = np.arange(max(0, self.head - length), self.head)
        return bool(self.head) and bool((self._numbers[wanted % length] == wanted + 1).all())
