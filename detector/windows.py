"""Windows of a series: the newest rows of each key, kept in a ring buffer, and returned as a window once it is full.

    windows = Windows(window, columns=8)
    cut = windows.update(keys, times, rows)       # rows of any keys, interleaved, in the order of arrival
    cut.windows                                   # float64[windows, time, columns], oldest row first
    cut.row_status                                # of every row: SCORED, WARMING_UP, BETWEEN_WINDOWS or TOO_OLD
    state = windows.save("pump 7")                # bytes
    windows.restore("pump 7", state)              # in another process, on another day
    windows.savepoint()                           # then `release`, or `rollback` to undo everything since

The window of row i holds rows up to i only. The first `length - 1` rows of a key warm it up, and so do the rows after a gap
longer than `max_gap`. The time of a key must rise from row to row: a row whose time does not rise is reported as `TOO_OLD`
and changes nothing, so a row that is delivered twice counts once. For each key the `length` newest rows, the newest time and
the state of its alarm (`detector.alarm`) are kept. Beyond `max_keys` keys the one that was updated least recently is dropped
and would warm up anew, so memory is bounded by max_keys x (8 x length x columns + about 400) bytes.

`detector.inputs.series` turns windows into verdicts.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from detector.alarm import AlarmState
from detector.cells import NUMBERS
from detector.columns import EXPECTED
from detector.date_format import describe
from detector.errors import SettingError

SCORED, WARMING_UP, BETWEEN_WINDOWS, TOO_OLD = range(4)
ROW_STATUS = ("scored", "warming up", "between windows")  # as text; a row that is too old is rejected

MAX_KEYS = 1_000_000
MAX_LENGTH = 10_000  # rows of a window
_HEAD = struct.Struct("<4sIIqd")  # mark, columns, rows kept, rows seen, newest time
_MARK = b"RSK1"


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """How rows become windows, as the manifest stores it.

    `time` orders the rows of each `key` (None: all rows are one series). A window holds `length` rows, and one is cut at
    every `stride`-th row. A step in time above `max_gap` (seconds, or the unit of a time that is no date) starts it anew.
    Reasons describe the mean of the newest `tail` rows. `time_format` is as `detector.date_format` knows it, or "numbers".
    """

    time: str
    key: str | None = None
    length: int
    stride: int = 1
    max_gap: float
    tail: int = 1
    time_format: str = ""

    @property
    def expected_time(self) -> str:
        """What its time holds, for messages."""
        if self.time_format == NUMBERS:
            return "a number"
        return f"a date {describe(self.time_format)}" if self.time_format else EXPECTED["date"]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it needs beside those that the detector reads."""
        return (self.time,) if self.key is None else (self.time, self.key)


class KeyState:
    """The newest rows of one key, and its alarm."""

    __slots__ = ("alarm", "buffer", "seen", "started", "time")

    def __init__(self, length: int, columns: int) -> None:
        """Start without rows."""
        self.buffer = np.empty((length, columns))  # a ring: row i since the window started is at i modulo its length
        self.seen = 0
        self.time = self.started = -np.inf  # of the newest row, and of the first row since the window started, if seen here
        self.alarm = AlarmState()

    def copy(self) -> KeyState:
        """Return an independent copy."""
        other = KeyState(*self.buffer.shape)
        other.buffer[:] = self.buffer
        other.seen, other.time, other.started, other.alarm = self.seen, self.time, self.started, self.alarm.copy()
        return other

    def newest(self) -> np.ndarray:
        """Return the rows that are kept, oldest first: `float64[at most length, columns]`."""
        length = len(self.buffer)
        if self.seen <= length:
            return self.buffer[: self.seen].copy()
        return np.roll(self.buffer, -(self.seen % length), axis=0)

    def to_bytes(self) -> bytes:
        """Serialise the state."""
        rows = self.newest()
        head = _HEAD.pack(_MARK, self.buffer.shape[1], len(rows), self.seen, self.time)
        return head + self.alarm.to_bytes() + rows.astype("<f8").tobytes()

    @classmethod
    def from_bytes(cls, content: bytes, length: int, columns: int) -> KeyState:
        """Deserialise what `to_bytes` returned.

        Raises:
            SettingError: the bytes are not the state of a window of this length over so many columns.
        """
        body = _HEAD.size + AlarmState.SIZE
        head = content[: _HEAD.size]
        mark, width, rows, seen, time = _HEAD.unpack(head) if len(content) >= body else (b"", 0, 0, 0, 0.0)
        if mark != _MARK or width != columns or rows != min(seen, length) or len(content) != body + 8 * rows * columns:
            raise SettingError(f"{len(content)} bytes are not the state of a window of {length} rows of {columns} columns")
        state = cls(length, columns)
        state.seen, state.time = seen, time
        state.alarm = AlarmState.from_bytes(content[_HEAD.size : body])
        indices = np.arange(seen - rows, seen) % length
        state.buffer[indices] = np.frombuffer(content, dtype="<f8", offset=body).reshape(rows, columns)
        return state


class CutWindows(NamedTuple):
    """The windows that some rows completed."""

    row_status: np.ndarray  # int8[rows]
    windows: np.ndarray  # float64[windows, time, columns]
    at: np.ndarray  # int64[windows], the newest row of each among the rows
    states: list[KeyState]  # of each window's key
    is_first: np.ndarray  # bool[windows], whether it is the first since its key started
    too_old: dict[int, float]  # rows whose time did not rise, and the newest time of their key


class ChangedKey(NamedTuple):
    """A key that received rows since a savepoint."""

    key: str
    state: KeyState
    rows: int  # received, as far as they are kept


class Windows:
    """The newest rows of every key."""

    def __init__(self, window: Window, columns: int, max_keys: int = MAX_KEYS) -> None:
        """Start without keys."""
        self.window = window
        self.columns = columns
        self._max_keys = max_keys
        self._states: OrderedDict[str, KeyState] = OrderedDict()  # the least recently updated first
        self._savepoints: list[dict[str, KeyState | None]] = []  # for each, the previous state of the keys touched since

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._states)

    @property
    def key_bytes(self) -> int:
        """The memory that a key takes, approximately."""
        return 8 * self.window.length * self.columns + 400

    def update(self, keys: Sequence[str], times: np.ndarray, rows: np.ndarray) -> CutWindows:
        """Add rows, `float64[rows, columns]`, with the key and the time, `float64[rows]`, of each; return their windows.

        All windows are in memory at once: pass many rows in chunks.
        """
        length, stride, max_gap = self.window.length, self.window.stride, self.window.max_gap
        row_status = np.zeros(len(rows), dtype=np.int8)
        windows = np.empty((len(rows), length, self.columns))
        at: list[int] = []
        states: list[KeyState] = []
        is_first: list[bool] = []
        too_old: dict[int, float] = {}
        for row, (key, time) in enumerate(zip(keys, times.tolist(), strict=True)):
            state = self._state(key)
            step = time - state.time
            if not step > 0:
                row_status[row], too_old[row] = TOO_OLD, state.time
                continue
            if step > max_gap:
                state.seen, state.started = 0, time
            split = state.seen % length
            state.buffer[split] = rows[row]
            state.seen += 1
            state.time = time
            beyond = state.seen - length
            if beyond < 0 or beyond % stride:
                row_status[row] = WARMING_UP if beyond < 0 else BETWEEN_WINDOWS
                continue
            window = windows[len(at)]
            window[: length - split - 1] = state.buffer[split + 1 :]
            window[length - split - 1 :] = state.buffer[: split + 1]
            at.append(row)
            states.append(state)
            is_first.append(beyond == 0)
        indices = np.array(at, dtype=np.int64)
        return CutWindows(row_status, windows[: len(at)], indices, states, np.array(is_first, dtype=bool), too_old)

    def save(self, key: str) -> bytes:
        """Serialise the state of a key; raises KeyError for an unknown one."""
        return self._states[key].to_bytes()

    def restore(self, key: str, content: bytes) -> None:
        """Restore what `save` returned.

        Raises:
            SettingError: the bytes are not a state of such windows.
        """
        self._states[key] = KeyState.from_bytes(content, self.window.length, self.columns)
        self._drop_excess()

    def put(self, key: str, state: KeyState) -> None:
        """Set the state of a key, as the most recently updated one."""
        self._touch(key)
        self._states[key] = state
        self._states.move_to_end(key)
        self._drop_excess()

    def drop(self, key: str) -> None:
        """Forget a key; it would warm up anew."""
        self._touch(key)
        del self._states[key]

    def oldest(self) -> str:
        """Return the key that was updated least recently."""
        return next(iter(self._states))

    def savepoint(self) -> None:
        """Start recording, so that everything from here on can be undone. Savepoints nest."""
        self._savepoints.append({})

    def release(self) -> None:
        """Keep the changes since the last savepoint; an outer one can still undo them."""
        newest = self._savepoints.pop()
        if self._savepoints:
            self._savepoints[-1] = newest | self._savepoints[-1]

    def rollback(self) -> None:
        """Undo the changes since the last savepoint."""
        for key, state in self._savepoints.pop().items():
            if state is not None:
                self._states[key] = state
            else:
                self._states.pop(key, None)

    def changed(self) -> Iterator[ChangedKey]:
        """Yield the keys that received rows since the last savepoint and are still kept."""
        for key, before in self._savepoints[-1].items():
            state = self._states.get(key)
            if state is None:
                continue
            seen_before = before.seen if before and before.started == state.started else 0
            if state.seen > seen_before:
                yield ChangedKey(key, state, min(state.seen - seen_before, len(state.buffer)))

    def _touch(self, key: str) -> None:
        """Record the state of a key before it is changed."""
        if self._savepoints and key not in self._savepoints[-1]:
            state = self._states.get(key)
            self._savepoints[-1][key] = state and state.copy()

    def _state(self, key: str) -> KeyState:
        self._touch(key)
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = KeyState(self.window.length, self.columns)
            self._drop_excess()
        else:
            self._states.move_to_end(key)
        return state

    def _drop_excess(self) -> None:
        if len(self._states) > self._max_keys:
            self.drop(self.oldest())
