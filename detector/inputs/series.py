"""Series: each key's rows are scored by the window of rows up to them, so a session remembers every key's newest rows.

    batch -> encode -> matrix -> `windows` -> graph -> `alarm` -> verdict -> reasons

A row's verdict depends on its key's rows up to that row and on nothing else: not on how rows are cut into batches, not on
other keys, not on later rows. `detector.windows` says what is kept, saved and restored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from detector import cells
from detector.alarm import AlarmRule
from detector.batch import Batch, MatrixBatch, RecordBatch, TableBatch
from detector.column_reasons import rank
from detector.columns import Column, Encoded, format_names, suggest_names
from detector.decision import Calibration, Decision
from detector.errors import TableError
from detector.graph import Outputs
from detector.inputs.base import Engine, Session
from detector.inputs.tabular import FEW, TabularInput, encode_matrix
from detector.manifest import Manifest
from detector.reasons import NO_REASONS, Explain, Reasons, ReasonTable
from detector.record_encoder import TimeKeyEncoder
from detector.rejects import Reject, shorten
from detector.verdicts import Verdicts
from detector.windows import MAX_KEYS, SCORED, TOO_OLD, WARMING_UP, CutWindows, KeyState, Window, Windows

CHUNK = 1024  # rows whose windows are in memory at a time
MAX_CELLS = 2**20  # of windows that are made as examples
KEY = "the name of a series"  # expected of a key
AFTER = "a time after"  # expected of a time
EARLIEST_DATE = 1e8  # seconds, in 1973: a time nearer to 0 is hardly a date


class KeyedRows(NamedTuple):
    """The rows that have a time and a key, in order."""

    at: np.ndarray  # int64[rows], their positions in the batch
    keys: list[str]
    times: np.ndarray  # float64[rows]
    matrix: np.ndarray  # float64[rows, columns]

    def chunk(self, start: int) -> KeyedRows:
        """Return the next rows that are scored together."""
        rows = slice(start, start + CHUNK)
        return KeyedRows(self.at[rows], self.keys[rows], self.times[rows], self.matrix[rows])


class SeriesInput(TabularInput):
    """Rows of one or many series."""

    promise_noun = "stretch"

    def __init__(self, manifest: Manifest, window: Window, alarm: AlarmRule) -> None:
        """Read the columns of a manifest; `window` makes windows of rows, `alarm` an alarm of scores."""
        super().__init__(manifest)
        self.window = window
        self.alarm = alarm
        self.columns: tuple[Column, ...] = manifest.columns
        self.required = tuple(dict.fromkeys([*self.required, *window.columns]))
        self.shape = (window.length, len(manifest.columns))
        self.description = f"windows of {window.length} rows"
        self.missing = manifest.missing
        self.times = TimeKeyEncoder(window, manifest.missing)

    def session(self, engine: Engine, max_keys: int = MAX_KEYS, key: str | None = None) -> Session:
        """Start a series, or several; with a `key` only that one, whose rows need not name it."""
        return SeriesSession(engine, self, max_keys, key)

    def decide(self, calibration: Calibration, rate: float) -> Decision:
        """Return the decision that promises a rate of stretches in which an alarm begins."""
        return calibration.decide_stretches(rate, self.window.length)

    def examples(self, rows: np.ndarray, count: int) -> np.ndarray:
        """Return up to `count` windows; of long ones fewer, so that they fit into memory."""
        length = self.window.length
        windows = min(count, max(1, MAX_CELLS // (length * rows.shape[1])))
        return np.asarray(rows[(np.arange(windows)[:, None] + np.arange(length)) % len(rows)])

    def require(self, names: Sequence[str], *, keyed: bool = True) -> None:
        """Raise unless a table has the time and, if it is `keyed`, the key.

        Raises:
            TableError: one is missing.
        """
        absent = [name for name in self.window.columns if name not in names and (keyed or name == self.window.time)]
        if absent:
            role = "time" if absent[0] == self.window.time else "key"
            near = suggest_names(absent, names)
            raise TableError(f"the table lacks the {role} column {absent[0]!r} of its series{near}; it has {format_names(names)}")


class SeriesSession:
    """Scores the rows of series that follow each other."""

    def __init__(self, engine: Engine, source: SeriesInput, max_keys: int, key: str | None = None) -> None:
        """Start without rows."""
        self.windows = Windows(source.window, len(source.columns), max_keys)
        self._key = None if key is None or source.window.key is None else cells.category_text(key)
        self._engine = engine
        self._input = source

    def score(self, batch: Batch, *, explain: Explain = "anomalies", top: int = 3) -> Verdicts:
        """Return the verdicts on a batch that follows the batches before.

        Raises:
            TableError: the batch lacks a column.
        """
        if isinstance(batch, MatrixBatch):
            return self._score_whole_windows(batch)
        keyed, encoded, rejects = self._keyed(batch)
        scores = _Scores(len(keyed.at), explain)
        for start in range(0, len(keyed.at), CHUNK):
            chunk = keyed.chunk(start)
            cut = self.windows.update(chunk.keys, chunk.times, chunk.matrix)
            rejects += too_old(cut, chunk, self._input.window, np.asarray(batch.rows), batch.file)
            self._score_windows(cut, start, scores)
        return self._verdicts(batch, keyed, encoded, scores, rejects, top)

    def save(self) -> bytes:
        """Serialise the state of the only key, for `restore` in another session; empty before its first row."""
        return self.windows.save(self._key or "") if len(self.windows) else b""

    def restore(self, content: bytes) -> None:
        """Restore what `save` returned.

        Raises:
            SettingError: it is of other windows.
        """
        if content:
            self.windows.restore(self._key or "", content)

    def _keyed(self, batch: Batch) -> tuple[KeyedRows, Encoded, list[Reject]]:
        """Encode a batch with its times and keys; a few plain records without making a table."""
        if isinstance(batch, RecordBatch) and len(batch.rows) <= FEW:
            found, encoded = self._input.times.encode(batch.values, self._key), self._input.encode(batch)
            if found and not encoded.rejects:
                return KeyedRows(np.arange(len(encoded.matrix)), *found, encoded.matrix), encoded, []
        table = TableBatch(batch.frame, np.asarray(batch.rows, np.int64), [], file=batch.file)
        encoded = self._input.encode(table)
        self._input.require(table.frame.columns, keyed=self._key is None)
        keyed, rejects = keyed_rows(table, encoded, self._input.window, self._input.missing, self._key)
        return keyed, encoded, rejects

    def _score_windows(self, cut: CutWindows, start: int, scores: _Scores) -> None:
        """Score the windows of a chunk that starts at row `start`."""
        scores.row_status[start : start + len(cut.row_status)] = cut.row_status
        if not len(cut.at):
            return
        at = cut.at + start
        windows = zip(at.tolist(), cut.states, cut.is_first.tolist(), strict=True)

        def update_alarms(window_scores: np.ndarray) -> np.ndarray:
            return self._update_alarms(window_scores, windows, scores)

        if scores.explain == "none":
            update_alarms(self._engine.graph.scores(cut.windows))
            return
        outputs = self._engine.graph.explain(cut.windows, update_alarms)  # called batch by batch, in order
        scores.contribution.append(outputs.contribution)
        scores.expected.append(outputs.expected)
        scores.found.append(self._found(cut.windows[scores.is_explained[at]]))

    def _update_alarms(
        self, window_scores: np.ndarray, windows: Iterator[tuple[int, KeyState, bool]], scores: _Scores
    ) -> np.ndarray:
        """Step the alarms of the next windows' keys; return which windows are to be explained, `bool[scores]`."""
        threshold, rows = self._engine.manifest.decision.threshold, []
        for score, (row, state, is_first) in zip(window_scores.tolist(), windows, strict=False):  # further windows follow
            alarm = state.alarm
            if is_first:
                alarm.clear()
            was_on = alarm.is_on
            scores.score[row] = alarm.step(self._input.alarm, threshold, score)
            scores.is_anomaly[row] = alarm.is_on
            scores.alarms += alarm.is_on and not was_on
            rows.append(row)
        scores.is_explained[rows] = scores.is_anomaly[rows] if scores.explain == "anomalies" else scores.explain == "all"
        is_explained: np.ndarray = scores.is_explained[rows]
        return is_explained

    def _found(self, windows: np.ndarray) -> np.ndarray:
        """Return what reasons describe, `float64[windows, columns]`: each newest cell, of numbers the mean of the newest."""
        found = windows[:, -1].copy()
        numbers = [index for index, column in enumerate(self._input.columns) if column.kind == "number"]
        newest = windows[:, -self._input.window.tail :, numbers]
        is_finite = np.isfinite(newest)
        with np.errstate(invalid="ignore"):
            found[:, numbers] = np.where(is_finite, newest, 0.0).sum(axis=1) / is_finite.sum(axis=1)  # 0 / 0: missing
        return found

    def _verdicts(
        self, batch: Batch, keyed: KeyedRows, encoded: Encoded, scores: _Scores, rejects: list[Reject], top: int
    ) -> Verdicts:
        kept = scores.row_status != TOO_OLD
        accepted = np.zeros(len(encoded.accepted), dtype=bool)
        accepted[keyed.at[kept]] = True
        score, row_status = scores.score[kept], scores.row_status[kept]
        p_value = np.full(len(score), np.nan)
        is_scored = row_status == SCORED
        p_value[is_scored] = self._engine.calibration.p_values(score[is_scored])
        return Verdicts(
            rows=np.asarray(batch.rows, np.int64)[accepted],
            score=score,
            p_value=p_value,
            is_anomaly=scores.is_anomaly[kept],
            reasons=self._reasons(batch, keyed.at[kept], scores, scores.is_explained[kept], top),
            accepted=accepted,
            rejects=[*batch.rejects, *encoded.rejects, *rejects],
            infinite=encoded.infinite,
            matrix=keyed.matrix[kept],
            row_status=row_status,
            alarms=scores.alarms,
            differences=batch.differences,
        )

    def _reasons(self, batch: Batch, at: np.ndarray, scores: _Scores, is_explained: np.ndarray, top: int) -> Reasons:
        if top < 1 or not is_explained.any():
            return NO_REASONS
        outputs = Outputs(scores.score, np.concatenate(scores.contribution), np.concatenate(scores.expected))
        frame, found = batch.frame[at[is_explained]], np.concatenate(scores.found)
        reasons = rank(frame, found, outputs, self._input.columns, self._engine.manifest.score.extra_terms, top)
        return ReasonTable(reasons.with_columns(at=pl.Series(np.flatnonzero(is_explained))[reasons["at"]]))

    def _score_whole_windows(self, batch: MatrixBatch) -> Verdicts:
        """Score windows that came whole, each on its own: by its score alone, without time, key or alarm; none is explained.

        A window that holds an impossible code has no verdict.
        """
        windows = batch.matrix
        rows = encode_matrix(windows.reshape(-1, windows.shape[2]), self._input.columns, self._input.missing)
        accepted = np.asarray(rows.accepted.reshape(windows.shape[:2]).all(axis=1))
        matrix = np.zeros((len(rows.accepted), windows.shape[2]))
        matrix[rows.accepted] = rows.matrix
        whole = matrix.reshape(windows.shape)[accepted]
        score = self._engine.graph.scores(whole) if len(whole) else np.empty(0)
        return Verdicts(
            rows=np.flatnonzero(accepted),
            score=score,
            p_value=self._engine.calibration.p_values(score),
            is_anomaly=self._engine.manifest.decision.is_anomaly(score),
            reasons=NO_REASONS,
            accepted=accepted,
            rejects=rows.rejects,
            infinite=rows.infinite,
            matrix=whole[:, -1],
        )


class _Scores:
    """The scores of a batch's rows, filled chunk by chunk."""

    def __init__(self, rows: int, explain: Explain) -> None:
        self.explain = explain
        self.row_status = np.full(rows, WARMING_UP, dtype=np.int8)
        self.score = np.full(rows, np.nan)
        self.is_anomaly = np.zeros(rows, dtype=bool)
        self.is_explained = np.zeros(rows, dtype=bool)
        self.alarms = 0
        self.contribution: list[np.ndarray] = []  # of the explained rows only, as those below
        self.expected: list[np.ndarray] = []
        self.found: list[np.ndarray] = []


def keyed_rows(
    batch: TableBatch, encoded: Encoded, window: Window, missing: Sequence[str], only: str | None = None
) -> tuple[KeyedRows, list[Reject]]:
    """Return the accepted rows that have a time and a key, and reject the others; also those of another key than `only`."""
    frame, numbers, words = batch.frame, batch.rows, cells.missing_words(missing)
    times = cells.times(frame[window.time], words, window.time_format).values
    keys = _keys(frame, window, words, only)
    has_no_time = ~np.isfinite(times)
    has_no_key = np.zeros(frame.height, dtype=bool) if keys is None else keys.is_null().to_numpy()
    rejects = []
    for row in np.flatnonzero(encoded.accepted & (has_no_time | has_no_key)).tolist():
        column = window.time if has_no_time[row] or window.key is None else window.key
        expected = window.expected_time if column == window.time else KEY
        rejects.append(Reject(int(numbers[row]), column, shorten(repr(frame[column][row])), expected, batch.file))
    takes_part = encoded.accepted & ~has_no_time & ~has_no_key
    at = np.flatnonzero(takes_part)
    names = [""] * len(at) if keys is None else [cells.category_text(key) for key in keys.gather(at).to_list()]
    if only is not None and keys is not None:
        others = [(row, name) for row, name in zip(at.tolist(), names, strict=True) if name != only]
        rejects += [Reject(int(numbers[row]), window.key or "", shorten(repr(name)), only, batch.file) for row, name in others]
        takes_part[[row for row, _ in others]] = False
        at = np.flatnonzero(takes_part)
        names = [only] * len(at)
    return KeyedRows(at, names, times[at], encoded.matrix[takes_part[encoded.accepted]]), rejects


def _keys(frame: pl.DataFrame, window: Window, words: frozenset[str], only: str | None) -> pl.Series | None:
    """Return the key of each row, null where it has none; None where all rows are one series."""
    if window.key is None:
        return None
    if only is None:
        return cells.texts(frame[window.key], words)
    if window.key not in frame.columns:
        return pl.Series([only] * frame.height, dtype=pl.String)
    return cells.texts(frame[window.key], words).fill_null(only)


def too_old(cut: CutWindows, chunk: KeyedRows, window: Window, rows: np.ndarray, file: str) -> list[Reject]:
    """Reject the rows whose time did not rise."""
    if not cut.too_old:
        return []
    at = list(cut.too_old)
    found, newest = time_texts(chunk.times[at]), time_texts(np.array(list(cut.too_old.values())))
    hint = " (--key names the column that identifies a series)" if window.key is None else ""
    return [
        Reject(int(rows[chunk.at[row]]), window.time, time, f"{AFTER} {previous}, that of the row before{hint}", file)
        for row, time, previous in zip(at, found, newest, strict=True)
    ]


def time_texts(times: np.ndarray) -> list[str]:
    """Write times as dates, or as numbers where they do not count seconds since 1970."""
    texts: list[str] = (cells.date_texts if np.abs(times).min() > EARLIEST_DATE else cells.number_texts)(times).to_list()
    return texts
