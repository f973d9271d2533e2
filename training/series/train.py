"""All of training on windows, in order: a table of normal rows of one or many series in, a bundle out.

kinds -> order, windows -> channels -> each block held out in turn -> units, calibration -> fit on all -> export, proof -> bundle

Neighbouring rows are alike, so a part of a series says little of the rest: every row teaches, and every contiguous block of
time is scored once by a network that did not see it. What that finds becomes the units of the score and its calibration.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import numpy as np
import torch

from detector import bundle, cells
from detector.alarm import AlarmRule, AlarmState
from detector.batch import TableBatch
from detector.columns import encode
from detector.decision import Calibration, required_rows, smallest_rate
from detector.errors import SettingError, TableError
from detector.inputs.series import keyed_rows
from detector.manifest import RowCounts as Counted
from detector.rejects import Reject
from detector.versioning import write_version
from detector.windows import Window
from training import export, variants
from training.fit import ProgressCallback, one_thread
from training.kinds import infer
from training.layout import build_layout as lay_out
from training.layout import vocabularies
from training.manifest import describe, sum_up
from training.recipe import Recipe, Table
from training.series.cross_fit import learn
from training.series.model import Spans
from training.series.window_index import Material, Rows, arrange, usual_step
from training.split import DEFAULT_RATE, LEAST_ROWS
from training.train import TrainingResult, device_of, provers_of, rejected
from training.variants import WindowedPlan

LEAST_BLOCKS = 2  # in which windows end
LEAST_LENGTHS = 3  # rows are needed of so many windows that do not overlap
PROVED = 2048  # windows of the proof, evenly spread


def train(table: Table, to: Path, recipe: Recipe, watch: ProgressCallback) -> TrainingResult:
    """Train a detector of windows and write it as the next version under `to`.

    Raises:
        TableError: the rows are too few, or all alike.
        SettingError: a wish, a rate, a variant or a device that cannot be honoured.
        TrainingError: the exported graph is not the trained network.
        OutputError: the bundle cannot be written.
    """
    began = time.monotonic()
    recipe.check()
    plan = variants.windowed_plan(recipe.variant, recipe.settings)
    device = device_of(recipe.device)
    material = prepare(table, recipe)
    layout = lay_out(material.matrix, material.columns)
    if not layout.modelled:
        raise TableError("every column is constant in the training rows, so there is nothing to learn")
    rate, lowered_from = rate_of(len(_highest(np.zeros(len(material.rows.starts)), material)), recipe, material.window)
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(recipe.seed)
        learnt = learn(layout, material, plan, recipe.seed, device, watch)
    calibration = Calibration(stretches(learnt.scores, material, alarm_of(plan)))
    decision = calibration.decide_stretches(rate, material.window.length)
    model = export.proven(learnt.graph, some := material.windows(_evenly(material.rows.starts, PROVED)))
    parity = [export.prove(learnt.graph, model, some, decision, one) for one in provers_of(recipe.device)]
    rows = len(material.rows.places)
    counted = Counted(rows, rows, len(calibration), len(material.rejects))
    summary = sum_up(recipe, counted, learnt.fit, device.type, time.monotonic() - began)
    manifest = describe(learnt.graph, recipe, plan.settings, material.ignored, decision, summary)
    of_windows = {"window": material.window, "alarm": alarm_of(plan)}
    manifest = msgspec.structs.replace(manifest, parity=tuple(parity), **of_windows)
    contents = {bundle.MODEL: model, bundle.CALIBRATION: bundle.calibration_bytes(calibration)}
    folder, manifest = write_version(to, manifest, contents)
    return TrainingResult(folder, manifest, material.rejects, material.infinite, lowered_from)


def prepare(table: Table, recipe: Recipe) -> Material:
    """Find out kinds, leave out rows that cannot take part, and cut windows."""
    window = _wished(recipe)
    words = cells.missing_words(recipe.missing)
    kinds = infer(table.frame, recipe.columns, words)
    first = encode(table.frame, kinds.columns, table.rows, missing=recipe.missing)
    keyed, rejects = keyed_rows(TableBatch(table.frame, table.rows, []), first, window, recipe.missing)
    if recipe.max_gap is None:
        window = msgspec.structs.replace(window, max_gap=window.length * usual_step(keyed))
    rows, late = arrange(keyed, window, table.rows)
    rejects = table.located([*table.rejects, *first.rejects, *rejects, *late])
    _check_enough(rows, window, rejects)
    frame = table.frame[rows.places]
    columns, without = vocabularies(frame, kinds.columns, words)
    matrix = encode(frame, columns, table.rows[rows.places], missing=recipe.missing).matrix
    return Material(columns, [*kinds.ignored, *without], window, matrix, rows, rejects, first.infinite)


def stretches(scores: np.ndarray, material: Material, alarm: AlarmRule) -> np.ndarray:
    """Give the highest smoothed score of each stretch of as many rows as a window has: `float64[stretches]`.

    A stretch never crosses a gap or goes from one key to another; what is left of a run counts as one if it is half as
    long or more, or all there is. Windows of every other stretch share no row.
    """
    smoothed, state = np.empty(len(scores)), AlarmState()
    for place, (score, begun) in enumerate(zip(scores.tolist(), material.rows.begun.tolist(), strict=True)):
        if begun:
            state.clear()
        smoothed[place] = state.step(alarm, np.inf, score)
    return _highest(smoothed, material)


def _highest(scores: np.ndarray, material: Material) -> np.ndarray:
    """Give the highest score of each stretch."""
    size = -(-material.window.length // material.window.stride)
    runs = np.split(scores, np.flatnonzero(material.rows.begun)[1:])
    return np.concatenate([_highest_of(run, size) for run in runs])


def _highest_of(run: np.ndarray, size: int) -> np.ndarray:
    """Give the highest score of each stretch of a run."""
    starts = np.arange(0, len(run), size)
    if len(starts) > 1 and len(run) - starts[-1] < size / 2:
        starts = starts[:-1]
    return np.maximum.reduceat(run, starts)


def rate_of(stretches: int, recipe: Recipe, window: Window) -> tuple[float, float | None]:
    """Give the rate that so many stretches promise, and the one that it was lowered from, if so.

    Raises:
        SettingError: the rate that the user named is smaller than they can promise.
    """
    asked = recipe.false_alarm_rate or DEFAULT_RATE
    least = smallest_rate(stretches)
    if recipe.false_alarm_rate is not None and stretches < required_rows(asked) and not recipe.lenient:
        raise SettingError(
            f"{stretches} stretches of {window.length} rows cannot promise a false-alarm rate of {asked:g} of stretches: "
            f"the smallest they can promise is {least:g}, and {asked:g} takes {required_rows(asked) * window.length:,} rows"
        )
    rate = least if stretches < required_rows(asked) else asked
    return rate, asked if rate > asked else None


def alarm_of(plan: WindowedPlan) -> AlarmRule:
    """Give the alarm that the settings ask for."""
    settings = plan.settings
    return AlarmRule(smoothing=settings.smoothing, m=settings.m, n=settings.n, release=settings.release, quiet=settings.quiet)


def _wished(recipe: Recipe) -> Window:
    """Give the window that was asked for, its gap yet unknown if it is to be found out."""
    time_column, length = recipe.columns.time, recipe.window
    assert time_column is not None  # noqa: S101 - `Recipe.check` asks for it
    assert length is not None  # noqa: S101 - and this is what makes it a series
    return Window(
        time=time_column,
        key=recipe.columns.key,
        length=length,
        stride=recipe.stride,
        max_gap=recipe.max_gap or np.inf,
        tail=Spans(length).tail,
    )


def _check_enough(rows: Rows, window: Window, rejects: list[Reject]) -> None:
    """Refuse rows on which windows cannot be held out."""
    least, blocks = max(LEAST_ROWS, LEAST_LENGTHS * window.length), rows.blocks(window.length)
    enough = len(rows.places) >= least and len(blocks) >= LEAST_BLOCKS
    if enough and all(len(rows.learning(block, window.length)) for block in blocks):
        return
    of = f" of a {window.key}" if window.key else ""
    raise TableError(
        f"{len(rows.places):,} usable rows with {len(rows.starts):,} windows of {window.length}{of} are too few to train on: "
        f"each of four blocks of time is held out in turn, so at least {least:,} rows of a series are needed, "
        f"better many more, or a shorter --window, or a larger --max-gap than {window.max_gap:g}"
        f"{rejected(rejects, len(rows.places))}"
    )


def _evenly(starts: np.ndarray, most: int) -> np.ndarray:
    """Give some windows, evenly spread."""
    return starts[:: -(-len(starts) // most)]
