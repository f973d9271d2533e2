"""A run over a series: frames in, verdicts out, with every key's newest rows remembered from one frame to the next.

    frame -> `columns.encode` -> matrix -> `windows` -> `graph` -> `alarm` -> verdict -> `reasons`

`Scorer.session` begins one. A row's verdict depends on its key's rows up to that one, and on nothing else: not on how rows
are cut into frames, not on other keys, not on rows to come. `windows` says what is remembered, saved and restored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from detector import cells, reasons
from detector.alarm import AlarmRule
from detector.batch import Scalar
from detector.columns import EXPECTED, Encoded, format_names, suggest_names
from detector.errors import TableError
from detector.graph import Outputs
from detector.manifest import Manifest
from detector.reasons import Explain
from detector.records import SeriesEncoder
from detector.rejects import Reject, shorten
from detector.scorer import NO_REASONS, Cells, Scorer, Verdicts
from detector.windows import JUDGED, MOST_KEYS, TOO_OLD, WARMING_UP, Cut, State, Window, Windows

CHUNK = 1024  # rows whose windows are in memory at a time
A_SERIES = "the name of a series"  # what a key is expected to be
AFTER = "a time after"  # and where a time is expected
EARLY = 1e8  # seconds, 1973: what is nearer to 0 is hardly a date


class Keyed(NamedTuple):
    """Rows that can take part, in order."""

    at: np.ndarray  # int64[rows], their places in the frame
    keys: list[str]
    times: np.ndarray  # float64[rows]
    matrix: np.ndarray  # float64[rows, columns]

    def part(self, start: int) -> Keyed:
        """Give a chunk of them."""
        some = slice(start, start + CHUNK)
        return Keyed(self.at[some], self.keys[some], self.times[some], self.matrix[some])


class Asked(NamedTuple):
    """What is wanted of rows: their cells for reasons, their numbers and file for rejects, and which reasons."""

    cells: Cells
    numbered: np.ndarray  # int64[rows of the frame]
    file: str
    explain: Explain
    top: int


class Series:
    """A run of a detector of windows."""

    def __init__(
        self, scorer: Scorer, window: Window, alarm: AlarmRule, most_keys: int = MOST_KEYS, *, key: str | None = None
    ) -> None:
        """Begin with no rows; `Scorer.series` calls this."""
        self.windows = Windows(window, len(scorer.columns), most_keys)
        self._encoder = SeriesEncoder(window, scorer.manifest.missing)
        self._key = None if key is None or window.key is None else cells.category_text(key)
        self._scorer = scorer
        self._window = window
        self._alarm = alarm

    @property
    def manifest(self) -> Manifest:
        """What the detector is."""
        return self._scorer.manifest

    def score(
        self,
        frame: pl.DataFrame,
        rows: np.ndarray | None = None,
        *,
        file: str = "",
        explain: Explain = "anomalies",
        top: int = 3,
    ) -> Verdicts:
        """Judge every row of a frame that follows the frames before; as `Scorer.score`.

        Raises:
            TableError: the frame lacks a column.
        """
        numbered = np.arange(frame.height) if rows is None else rows
        encoded = self._scorer.encode(frame, numbered, file=file)
        return self.judge(frame, encoded, numbered, file=file, explain=explain, top=top)

    def judge(
        self, frame: pl.DataFrame, encoded: Encoded, numbered: np.ndarray, *, file: str = "", explain: Explain, top: int
    ) -> Verdicts:
        """Judge the rows of a frame that is encoded already; for the rest see `score`.

        Raises:
            TableError: the frame lacks the time or, unless all rows are of one key, the key.
        """
        require_window(frame.columns, self._window, keyed=self._key is None)
        keyed, rejects = keyed_rows(frame, encoded, self._window, numbered, self.manifest.missing, file, self._key)
        return self._judge_keyed(keyed, encoded, rejects, Asked(lambda at: frame[at], numbered, file, explain, top))

    def judge_plain(
        self,
        values: Mapping[str, Sequence[Scalar]],
        matrix: np.ndarray,
        cells: Cells,
        numbered: np.ndarray,
        *,
        explain: Explain,
        top: int,
    ) -> Verdicts | None:
        """Judge records of which `matrix` is known; None where their times and keys are not plain, and a frame is needed.

        `cells` gives those that reasons tell of.
        """
        found = self._encoder.encode(values, self._key)
        if found is None:
            return None
        keyed = Keyed(np.arange(len(matrix)), *found, matrix)
        encoded = Encoded(matrix, np.ones(len(matrix), dtype=bool), [], 0)
        return self._judge_keyed(keyed, encoded, [], Asked(cells, numbered, "", explain, top))

    def _judge_keyed(self, keyed: Keyed, encoded: Encoded, rejects: list[Reject], asked: Asked) -> Verdicts:
        """Judge rows that can take part; `rejects` cannot."""
        judged = _Judged(len(keyed.at), asked.explain)
        for start in range(0, len(keyed.at), CHUNK):
            part = keyed.part(start)
            cut = self.windows.update(part.keys, part.times, part.matrix)
            rejects += too_old(cut, part, self._window, asked.numbered, asked.file)
            self._judge(cut, start, judged)
        return self._verdicts(encoded, keyed, judged, rejects, asked)

    def save(self) -> bytes:
        """Give what is remembered of the one key, for `restore` in another run; nothing before a row was taken in."""
        return self.windows.save(self._key or "") if len(self.windows) else b""

    def restore(self, kept: bytes) -> None:
        """Remember of the one key what `save` gave.

        Raises:
            SettingError: it was a run over other windows.
        """
        if kept:
            self.windows.restore(self._key or "", kept)

    def _judge(self, cut: Cut, start: int, judged: _Judged) -> None:
        """Score the windows of a chunk that begins at row `start`."""
        judged.fates[start : start + len(cut.fates)] = cut.fates
        if not len(cut.at):
            return
        at = cut.at + start
        windows = zip(at.tolist(), cut.states, cut.begun.tolist(), strict=True)

        def on(scores: np.ndarray) -> np.ndarray:
            return self._step(scores, windows, judged)

        if judged.explain == "none":
            on(self._scorer.graph.scores(cut.windows))
            return
        outputs = self._scorer.graph.explain(cut.windows, on)  # asks of some windows at a time, in order
        judged.contribution.append(outputs.contribution)
        judged.expected.append(outputs.expected)
        judged.found.append(self._found(cut.windows[judged.wanted[at]]))

    def _step(self, scores: np.ndarray, windows: Iterator[tuple[int, State, bool]], judged: _Judged) -> np.ndarray:
        """Take the scores of the next windows into their keys' alarms; tells which are to be explained, `bool[scores]`."""
        threshold, places = self.manifest.decision.threshold, []
        for score, (place, state, begun) in zip(scores.tolist(), windows, strict=False):  # there are more windows to come
            alarm = state.alarm
            if begun:
                alarm.clear()
            was_on = alarm.is_on
            judged.score[place] = alarm.step(self._alarm, threshold, score)
            judged.is_anomaly[place] = alarm.is_on
            judged.alarms += alarm.is_on and not was_on
            places.append(place)
        judged.wanted[places] = judged.is_anomaly[places] if judged.explain == "anomalies" else judged.explain == "all"
        wanted: np.ndarray = judged.wanted[places]
        return wanted

    def _found(self, windows: np.ndarray) -> np.ndarray:
        """Give what reasons tell of, `float64[windows, columns]`: each newest cell, of numbers the mean of the newest ones."""
        found = windows[:, -1].copy()
        numbers = [place for place, column in enumerate(self._scorer.columns) if column.kind == "number"]
        newest = windows[:, -self._window.tail :, numbers]
        there = np.isfinite(newest)
        with np.errstate(invalid="ignore"):
            found[:, numbers] = np.where(there, newest, 0.0).sum(axis=1) / there.sum(axis=1)  # 0 / 0 is a missing cell
        return found

    def _verdicts(self, encoded: Encoded, keyed: Keyed, judged: _Judged, rejects: list[Reject], asked: Asked) -> Verdicts:
        """Put the verdicts of the rows that took part together."""
        kept = judged.fates != TOO_OLD
        accepted = np.zeros(len(encoded.accepted), dtype=bool)
        accepted[keyed.at[kept]] = True
        score, wanted, at = judged.score[kept], judged.wanted[kept], keyed.at[kept]
        p_value = np.full(len(score), np.nan)
        there = judged.fates[kept] == JUDGED
        p_value[there] = self._scorer.calibration.p_values(score[there])
        told = NO_REASONS
        if asked.top > 0 and wanted.any():
            told = self._reasons(asked.cells(at[wanted]), judged, np.flatnonzero(wanted), asked.top)
        return Verdicts(
            score=score,
            p_value=p_value,
            is_anomaly=judged.is_anomaly[kept],
            reasons=told,
            accepted=accepted,
            rejects=[*encoded.rejects, *rejects],
            infinite=encoded.infinite,
            fates=judged.fates[kept],
            alarms=judged.alarms,
        )

    def _reasons(self, told: pl.DataFrame, judged: _Judged, at: np.ndarray, top: int) -> pl.DataFrame:
        """Explain rows, which stand at `at` among the accepted ones."""
        outputs = Outputs(judged.score, np.concatenate(judged.contribution), np.concatenate(judged.expected))
        extra = self.manifest.score.extra_terms
        ranked = reasons.rank(told, np.concatenate(judged.found), outputs, self._scorer.columns, extra, top)
        return ranked.with_columns(at=pl.Series(at)[ranked["at"]])


class _Judged:
    """What is found of the rows that take part, as it comes."""

    def __init__(self, rows: int, explain: Explain) -> None:
        self.explain = explain
        self.fates = np.full(rows, WARMING_UP, dtype=np.int8)
        self.score = np.full(rows, np.nan)
        self.is_anomaly = np.zeros(rows, dtype=bool)
        self.wanted = np.zeros(rows, dtype=bool)
        self.alarms = 0
        self.contribution: list[np.ndarray] = []  # of the wanted rows alone
        self.expected: list[np.ndarray] = []
        self.found: list[np.ndarray] = []


def keyed_rows(
    frame: pl.DataFrame,
    encoded: Encoded,
    window: Window,
    rows: np.ndarray,
    missing: Sequence[str],
    file: str,
    only: str | None = None,
) -> tuple[Keyed, list[Reject]]:
    """Give the accepted rows that have a time and a key, and reject the others; also those of another key than `only`."""
    words = cells.missing_words(missing)
    times = cells.dates(frame[window.time], words).values
    keys = _keys(frame, window, words, only)
    timeless = np.isnan(times)
    keyless = np.zeros(frame.height, dtype=bool) if keys is None else keys.is_null().to_numpy()
    rejects = []
    for place in np.flatnonzero(encoded.accepted & (timeless | keyless)).tolist():
        column = window.time if timeless[place] or window.key is None else window.key
        expected = EXPECTED["date"] if column == window.time else A_SERIES
        rejects.append(Reject(int(rows[place]), column, shorten(repr(frame[column][place])), expected, file))
    takes_part = encoded.accepted & ~timeless & ~keyless
    at = np.flatnonzero(takes_part)
    names = [""] * len(at) if keys is None else [cells.category_text(key) for key in keys.gather(at).to_list()]
    if only is not None and keys is not None:
        others = [(place, name) for place, name in zip(at.tolist(), names, strict=True) if name != only]
        rejects += [Reject(int(rows[place]), window.key or "", shorten(repr(name)), only, file) for place, name in others]
        takes_part[[place for place, _ in others]] = False
        at = np.flatnonzero(takes_part)
        names = [only] * len(at)
    return Keyed(at, names, times[at], encoded.matrix[takes_part[encoded.accepted]]), rejects


def _keys(frame: pl.DataFrame, window: Window, words: frozenset[str], only: str | None) -> pl.Series | None:
    """Give the key of each row, null where there is none; None where all are one series. Of one key, rows need not name it."""
    if window.key is None:
        return None
    if only is None:
        return cells.texts(frame[window.key], words)
    if window.key not in frame.columns:
        return pl.Series([only] * frame.height, dtype=pl.String)
    return cells.texts(frame[window.key], words).fill_null(only)


def too_old(cut: Cut, part: Keyed, window: Window, rows: np.ndarray, file: str) -> list[Reject]:
    """Reject the rows whose time did not rise."""
    if not cut.too_old:
        return []
    at = list(cut.too_old)
    found, before = in_words(part.times[at]), in_words(np.array(list(cut.too_old.values())))
    hint = " (--key names the column that tells series apart)" if window.key is None else ""
    return [
        Reject(int(rows[part.at[place]]), window.time, one, f"{AFTER} {other}, that of the row before{hint}", file)
        for place, one, other in zip(at, found, before, strict=True)
    ]


def in_words(times: np.ndarray) -> list[str]:
    """Write times as dates, or as numbers where they count something else than seconds since 1970."""
    texts: list[str] = (cells.date_texts if np.abs(times).min() > EARLY else cells.number_texts)(times).to_list()
    return texts


def require_window(names: Sequence[str], window: Window, *, keyed: bool = True) -> None:
    """Check that a table has the time and, if it is `keyed`, the key.

    Raises:
        TableError: one is missing.
    """
    absent = [name for name in window.columns if name not in names and (keyed or name == window.time)]
    if absent:
        what = "time" if absent[0] == window.time else "key"
        near = suggest_names(absent, names)
        raise TableError(f"the table lacks the {what} column {absent[0]!r} of its series{near}; it has {format_names(names)}")
