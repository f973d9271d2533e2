"""Windows of a series: each key's newest rows, kept in a ring, and given as a window whenever one is whole.

    windows = Windows(window, columns=8)
    cut = windows.update(keys, times, rows)       # rows of any keys, interleaved, in the order in which they came
    cut.windows                                   # float64[windows, time, columns], oldest row first
    cut.fates                                     # for every row: JUDGED, WARMING_UP, BETWEEN, or TOO_OLD
    kept = windows.save("pump 7")                 # bytes
    windows.restore("pump 7", kept)               # in another process, on another day
    windows.savepoint()                           # then `release`, or `rollback`: what came since has left no trace

A window of row i holds rows up to i only. The first `length - 1` rows of a key warm it up, and so do those that follow a
gap longer than `max_gap`. The time of a key must rise from row to row: a row whose time does not is told as `TOO_OLD` and
leaves no trace, so a row that is delivered twice counts once. Of every key its `length` newest rows are kept, its newest
time and where its alarm stands (`detector.alarm`); of more than `most_keys` keys the one unheard of for longest is
forgotten, and would warm up anew. So memory is bounded by most_keys x (8 x length x columns + about 400) bytes.

`detector.series` turns windows into verdicts.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from detector.alarm import AlarmState
from detector.errors import SettingError

JUDGED, WARMING_UP, BETWEEN, TOO_OLD = range(4)
FATES = ("judged", "warming up", "between windows")  # of rows that are not rejected, in words

MOST_KEYS = 1_000_000
LONGEST = 10_000  # rows of a window
_HEAD = struct.Struct("<4sIIqd")  # mark, columns, rows kept, rows seen, newest time
_MARK = b"RSK1"


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """How rows become windows, as the manifest has it.

    `time` orders the rows of each `key` (None: all are one series); a window holds `length` rows and one is cut at every
    `stride`-th row; a step in time above `max_gap` (seconds, or the unit of a time that is no date) begins it anew. Reasons
    speak of the mean of the newest `tail` rows.
    """

    time: str
    key: str | None = None
    length: int
    stride: int = 1
    max_gap: float
    tail: int = 1

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it needs beside those that the detector reads."""
        return (self.time,) if self.key is None else (self.time, self.key)


class State:
    """What is remembered of one key."""

    __slots__ = ("alarm", "began", "rows", "seen", "time")

    def __init__(self, length: int, columns: int) -> None:
        """Begin with no rows."""
        self.rows = np.empty((length, columns))  # a ring: row i since the window began stands at i modulo its length
        self.seen = 0
        self.time = self.began = -np.inf  # of the newest row, and of the first one since the window began, if it came here
        self.alarm = AlarmState()

    def copy(self) -> State:
        """Give the same, apart."""
        other = State(*self.rows.shape)
        other.rows[:] = self.rows
        other.seen, other.time, other.began, other.alarm = self.seen, self.time, self.began, self.alarm.copy()
        return other

    def newest(self) -> np.ndarray:
        """Give the rows that are kept, oldest first: `float64[at most length, columns]`."""
        length = len(self.rows)
        if self.seen <= length:
            return self.rows[: self.seen].copy()
        return np.roll(self.rows, -(self.seen % length), axis=0)

    def to_bytes(self) -> bytes:
        """Give everything that is remembered."""
        rows = self.newest()
        head = _HEAD.pack(_MARK, self.rows.shape[1], len(rows), self.seen, self.time)
        return head + self.alarm.to_bytes() + rows.astype("<f8").tobytes()

    @classmethod
    def from_bytes(cls, kept: bytes, length: int, columns: int) -> State:
        """Remember what `to_bytes` gave.

        Raises:
            SettingError: the bytes are no state of windows of this length over so many columns.
        """
        body = _HEAD.size + AlarmState.SIZE
        mark, width, rows, seen, time = _HEAD.unpack(kept[: _HEAD.size]) if len(kept) >= body else (b"", 0, 0, 0, 0.0)
        if mark != _MARK or width != columns or rows != min(seen, length) or len(kept) != body + 8 * rows * columns:
            raise SettingError(f"{len(kept)} bytes are no state of a window of {length} rows of {columns} columns")
        state = cls(length, columns)
        state.seen, state.time = seen, time
        state.alarm = AlarmState.from_bytes(kept[_HEAD.size : body])
        places = np.arange(seen - rows, seen) % length
        state.rows[places] = np.frombuffer(kept, dtype="<f8", offset=body).reshape(rows, columns)
        return state


class Cut(NamedTuple):
    """What became of some rows."""

    fates: np.ndarray  # int8[rows]
    windows: np.ndarray  # float64[windows, time, columns]
    at: np.ndarray  # int64[windows], the newest row of each among the rows
    states: list[State]  # of each window's key
    begun: np.ndarray  # bool[windows], the first since its key's window began
    too_old: dict[int, float]  # rows whose time did not rise, and the time that it did not rise above


class Changed(NamedTuple):
    """A key of which rows came since a savepoint."""

    key: str
    state: State
    rows: int  # that came, as far as they are kept


class Windows:
    """The newest rows of every key."""

    def __init__(self, window: Window, columns: int, most_keys: int = MOST_KEYS) -> None:
        """Know no key yet."""
        self.window = window
        self.columns = columns
        self._most_keys = most_keys
        self._states: OrderedDict[str, State] = OrderedDict()  # the one unheard of for longest first
        self._before: list[dict[str, State | None]] = []  # for each savepoint, how the keys stood that were touched since

    def __len__(self) -> int:
        """Count the keys."""
        return len(self._states)

    @property
    def key_bytes(self) -> int:
        """How much memory a key takes, about."""
        return 8 * self.window.length * self.columns + 400

    def update(self, keys: Sequence[str], times: np.ndarray, rows: np.ndarray) -> Cut:
        """Take rows, `float64[rows, columns]`, with the key and the time, `float64[rows]`, of each; give their windows.

        All windows come at once: of many rows, give some at a time.
        """
        length, stride, max_gap = self.window.length, self.window.stride, self.window.max_gap
        fates = np.zeros(len(rows), dtype=np.int8)
        windows = np.empty((len(rows), length, self.columns))
        at: list[int] = []
        states: list[State] = []
        begun: list[bool] = []
        too_old: dict[int, float] = {}
        for place, (key, time) in enumerate(zip(keys, times.tolist(), strict=True)):
            state = self._state(key)
            step = time - state.time
            if not step > 0:
                fates[place], too_old[place] = TOO_OLD, state.time
                continue
            if step > max_gap:
                state.seen, state.began = 0, time
            split = state.seen % length
            state.rows[split] = rows[place]
            state.seen += 1
            state.time = time
            beyond = state.seen - length
            if beyond < 0 or beyond % stride:
                fates[place] = WARMING_UP if beyond < 0 else BETWEEN
                continue
            window = windows[len(at)]
            window[: length - split - 1] = state.rows[split + 1 :]
            window[length - split - 1 :] = state.rows[: split + 1]
            at.append(place)
            states.append(state)
            begun.append(beyond == 0)
        return Cut(fates, windows[: len(at)], np.array(at, dtype=np.int64), states, np.array(begun, dtype=bool), too_old)

    def save(self, key: str) -> bytes:
        """Give what is remembered of a key; raises KeyError for one that is not known."""
        return self._states[key].to_bytes()

    def restore(self, key: str, kept: bytes) -> None:
        """Remember of a key what `save` gave.

        Raises:
            SettingError: the bytes are no state of such windows.
        """
        self._states[key] = State.from_bytes(kept, self.window.length, self.columns)
        self._forget()

    def put(self, key: str, state: State) -> None:
        """Remember a key so, as the one heard of last."""
        self._touch(key)
        self._states[key] = state
        self._states.move_to_end(key)
        self._forget()

    def forget(self, key: str) -> None:
        """Forget a key; it would warm up anew."""
        self._touch(key)
        del self._states[key]

    def coldest(self) -> str:
        """Give the key unheard of for longest."""
        return next(iter(self._states))

    def savepoint(self) -> None:
        """From here on everything can be undone. Savepoints lie inside each other."""
        self._before.append({})

    def release(self) -> None:
        """Keep what came since the last savepoint; one that lies around it can still undo it."""
        newest = self._before.pop()
        if self._before:
            self._before[-1] = newest | self._before[-1]

    def rollback(self) -> None:
        """Undo what came since the last savepoint."""
        for key, state in self._before.pop().items():
            if state is not None:
                self._states[key] = state
            else:
                self._states.pop(key, None)

    def changed(self) -> Iterator[Changed]:
        """Give the keys that are remembered and of which rows came since the last savepoint."""
        for key, before in self._before[-1].items():
            state = self._states.get(key)
            if state is None:
                continue
            old = before.seen if before and before.began == state.began else 0
            if state.seen > old:
                yield Changed(key, state, min(state.seen - old, len(state.rows)))

    def _touch(self, key: str) -> None:
        """Note how a key stands before it is changed."""
        if self._before and key not in self._before[-1]:
            state = self._states.get(key)
            self._before[-1][key] = state and state.copy()

    def _state(self, key: str) -> State:
        """Give the state of a key, a new one of one that is not known."""
        self._touch(key)
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = State(self.window.length, self.columns)
            self._forget()
        else:
            self._states.move_to_end(key)
        return state

    def _forget(self) -> None:
        """Forget the key unheard of for longest, if there are too many."""
        if len(self._states) > self._most_keys:
            self.forget(self.coldest())
