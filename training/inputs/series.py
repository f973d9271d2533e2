"""Windows of one or many series as training data.

Neighbouring rows are alike, so one part of a series is a poor sample of the rest. Therefore all rows train, and every
contiguous block of time is scored once by a network that was not trained on it; its scores calibrate.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import msgspec
import numpy as np
import torch

from detector import cells
from detector.alarm import AlarmRule, AlarmState
from detector.batch import TableBatch
from detector.columns import encode
from detector.decision import Calibration, Decision, required_rows, smallest_rate
from detector.errors import SettingError, TableError
from detector.inputs.series import keyed_rows
from detector.manifest import RowCounts
from detector.rejects import Reject
from detector.windows import Window
from training.fit import NO_CALLBACKS, Callbacks
from training.inputs.base import FittedDetector, ScoreFunction, Source, TrainingData, describe_rejects, require_table
from training.kinds import ColumnCallback, ignore_columns, infer
from training.layout import FeatureLayout, build_layout, learn_vocabularies
from training.recipe import Recipe
from training.series.cross_fit import cross_fit
from training.series.model import Spans
from training.series.window_index import WindowIndex, index_windows, median_step
from training.settings import WindowSettings
from training.split import DEFAULT_RATE, MIN_ROWS
from training.suspects import EncodedRows
from training.variants import WindowedPlan

MIN_BLOCKS = 2  # in which windows end
MIN_LENGTHS = 3  # rows, in lengths of a window
MAX_PROOF_WINDOWS = 2048


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeriesTrainingData(TrainingData):
    """Windows of a series: all rows train, and each block of time is held out once."""

    plan: WindowedPlan
    window: Window
    matrix: np.ndarray  # float64[rows, columns], in the order of `index`
    index: WindowIndex

    @property
    def settings(self) -> WindowSettings:
        """The variant's settings."""
        return self.plan.settings

    @property
    def alarm(self) -> AlarmRule:
        """The alarm that the settings describe."""
        settings = self.settings
        return AlarmRule(smoothing=settings.smoothing, m=settings.m, n=settings.n, release=settings.release, quiet=settings.quiet)

    @classmethod
    def prepare(cls, source: Source, recipe: Recipe, on_column: ColumnCallback = ignore_columns) -> Self:
        """Infer kinds, reject rows without time or key, and index windows."""
        table = require_table(source)
        window = _window_of(recipe)
        missing = cells.missing_words(recipe.missing)
        inferred = infer(table.frame, recipe.columns, missing, on_column)
        readable = encode(table.frame, inferred.columns, table.rows, missing=recipe.missing, finite=True)
        window = msgspec.structs.replace(window, time_format=inferred.time_format)
        keyed, rejects = keyed_rows(TableBatch(table.frame, table.rows, []), readable, window, recipe.missing)
        if recipe.max_gap is None:
            window = msgspec.structs.replace(window, max_gap=window.length * median_step(keyed))
        index, late = index_windows(keyed, window, table.rows)
        rejects = table.locate([*table.rejects, *readable.rejects, *rejects, *late])
        _check_enough_rows(index, window, rejects)
        frame = table.frame[index.rows]
        columns, empty = learn_vocabularies(frame, inferred.columns, missing)
        rows = table.rows[index.rows]
        matrix = encode(frame, columns, rows, missing=recipe.missing).matrix
        return cls(
            recipe=recipe,
            plan=recipe.windowed_plan(),
            columns=columns,
            ignored=[*inferred.ignored, *empty],
            window=window,
            matrix=matrix,
            index=index,
            rejects=rejects,
            infinite=readable.infinite,
            rate=_promised_rate(len(_stretch_maxima(np.zeros(len(index.starts)), index, window)), recipe, window),
            encoded=EncodedRows(matrix, rows, table),
        )

    def layout(self) -> FeatureLayout:
        """Build the layout from all rows."""
        return build_layout(self.matrix, self.columns)

    def fit_graph(self, layout: FeatureLayout, device: torch.device, callbacks: Callbacks = NO_CALLBACKS) -> FittedDetector:
        """Train the network on a device and return the graph that scores with it, on the CPU."""
        result = cross_fit(layout, self.matrix, self.index, self.plan, self.recipe.seed, device, callbacks)
        return FittedDetector(result.graph, result.fit, held_out_scores=result.scores)

    def calibrate(self, fitted: FittedDetector, score: ScoreFunction) -> Calibration:
        """Return the largest smoothed score of each stretch, as measured in training."""
        del score
        assert fitted.held_out_scores is not None  # noqa: S101 - by `fit_graph`
        return Calibration(self._smoothed_maxima(fitted.held_out_scores))

    def decide(self, calibration: Calibration) -> Decision:
        """Return the threshold that promises `rate` of normal stretches."""
        return calibration.decide_stretches(self.rate, self.window.length)

    def row_counts(self, calibration: Calibration) -> RowCounts:
        """Return how many rows train and validate: all of them; stretches calibrate."""
        rows = len(self.index.rows)
        return RowCounts(rows, rows, len(calibration), len(self.rejects))

    def manifest_fields(self, fitted: FittedDetector) -> dict[str, Any]:
        """Return the window and the alarm."""
        del fitted
        return {"window": self.window, "alarm": self.alarm}

    def proof_examples(self) -> np.ndarray:
        """Return windows, evenly spread: `float64[windows, time, columns]`."""
        starts = self.index.starts[:: -(-len(self.index.starts) // MAX_PROOF_WINDOWS)]
        windows: np.ndarray = self.matrix[starts[:, None] + np.arange(self.window.length)]
        return windows

    def _smoothed_maxima(self, scores: np.ndarray) -> np.ndarray:
        smoothed, state = np.empty(len(scores)), AlarmState()
        for position, (score, is_first) in enumerate(zip(scores.tolist(), self.index.is_first.tolist(), strict=True)):
            if is_first:
                state.clear()
            smoothed[position] = state.step(self.alarm, np.inf, score)
        return _stretch_maxima(smoothed, self.index, self.window)


def _stretch_maxima(scores: np.ndarray, index: WindowIndex, window: Window) -> np.ndarray:
    """Return the largest score of each stretch of as many rows as a window has: `float64[stretches]`.

    A stretch never crosses a gap or a change of key; the rest of a run counts as one if it is at least half as long, or
    all there is. Windows of every other stretch share no row.
    """
    size = -(-window.length // window.stride)
    runs = np.split(scores, np.flatnonzero(index.is_first)[1:])
    return np.concatenate([_run_maxima(run, size) for run in runs])


def _run_maxima(run: np.ndarray, size: int) -> np.ndarray:
    starts = np.arange(0, len(run), size)
    if len(starts) > 1 and len(run) - starts[-1] < size / 2:
        starts = starts[:-1]
    return np.maximum.reduceat(run, starts)


def _promised_rate(stretches: int, recipe: Recipe, window: Window) -> float:
    """Return the rate that so many stretches promise.

    Raises:
        SettingError: the requested rate is smaller.
    """
    requested = recipe.false_alarm_rate or DEFAULT_RATE
    smallest = smallest_rate(stretches)
    if recipe.false_alarm_rate is not None and stretches < required_rows(requested) and not recipe.lenient:
        raise SettingError(
            f"{stretches} stretches of {window.length} rows cannot promise a false-alarm rate of {requested:g} of stretches: "
            f"the smallest they can promise is {smallest:g}, and {requested:g} takes "
            f"{required_rows(requested) * window.length:,} rows"
        )
    return smallest if stretches < required_rows(requested) else requested


def _window_of(recipe: Recipe) -> Window:
    """Return the window of a recipe; its largest gap is infinite if it is to be found."""
    time_column, length = recipe.columns.time, recipe.window
    assert time_column is not None  # noqa: S101 - by `Recipe.check`
    assert length is not None  # noqa: S101 - by `Recipe.kind`
    return Window(
        time=time_column,
        key=recipe.columns.key,
        length=length,
        stride=recipe.stride,
        max_gap=recipe.max_gap or np.inf,
        tail=Spans(length).tail,
    )


def _check_enough_rows(index: WindowIndex, window: Window, rejects: list[Reject]) -> None:
    """Raise unless each block of time can be held out."""
    rows, blocks = len(index.rows), index.blocks()
    needed = max(MIN_ROWS, MIN_LENGTHS * window.length)
    if rows >= needed and len(blocks) >= MIN_BLOCKS and all(len(index.training(block)) for block in blocks):
        return
    of_key = f" of a {window.key}" if window.key else ""
    raise TableError(
        f"{rows:,} usable rows with {len(index.starts):,} windows of {window.length}{of_key} are too few to train on: each of "
        f"four blocks of time is held out in turn, so at least {needed:,} rows of a series are needed, better many more, or a "
        f"shorter --window, or a larger --max-gap than {window.max_gap:g}{describe_rejects(rejects, rows)}"
    )
