"""Claim: a series' alarms on SKAB beside its board, by the code that serves; what normal rows cost; speed and memory per key.

SKAB's protocol (its `core/utils.py`): a detector for each file, trained on its first 400 rows; the rest is judged, every file
streamed from its first row so that row 401 has its window; predictions of all files are pooled. F1, the share of normal rows
flagged (FAR) and of anomalous ones missed (MAR). Thresholds come from those 400 rows; `RECIPE` is the one number of the recipe
in ../shared/research/series.md, chosen there on these very files. The board pools 34 files, of which 16 (`valve1`) are here.

Then: the anomaly-free rows, trained on their first third, and what share of the rest is flagged. Torch's time over ONNX
Runtime's at batches of 1, 64 and 1024 windows, one thread each. Bytes and rows/s with many interleaved keys. Peak memory of
`residuum score` on a file of ten times as many rows.

NAB's `realKnownCause` by NAB's rules: a detector for each file, trained on its probationary rows, streamed over all
of it; a row's score is what the detector gives over the detector's own threshold, which those rows set. A detection is the row
where an alarm begins, as a person is told of it once; the note says what comes of taking every row above the threshold for one.
The threshold is the best one on these seven files, of a hundred. Beside it stands what NAB's repository says, file by file
(`results/*/*_scores.csv`), of detectors that learn on while they judge, as a bundle does not, with the threshold that is best on
all 58 files. On these files it was found that the default passed over spikes, so that of one column a lone row counts too now
(standard: 24.8 before), and that `score=whitened` does better still. That is no default for series of one column all the same:
of a level that moved it finds less (SKAB's flow alone, eight files: mean AUROC 0.68, the default 0.87).
"""

from __future__ import annotations

import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl
import torch

from benchmarks.harness import datasets, detectors, family, nab_scoring
from benchmarks.harness.options import Options, Size, parse, unless_tiny
from benchmarks.harness.processes import RESIDUUM, measure
from benchmarks.harness.report import Report, line
from detector import bundle
from detector.alarm import Alarm, AlarmState
from detector.bundle import Bundle
from detector.scorer import Scorer
from detector.windows import JUDGED, Window, Windows
from training.fit import STEPS as USUAL_STEPS
from training.fit import ignore_progress, one_thread
from training.kinds import ColumnOptions
from training.layout import build_layout
from training.recipe import Recipe, Table
from training.series.cross_fit import learn
from training.series.train import prepare
from training.train import train
from training.variants import VARIANTS, windowed_plan

FULL, QUICK = Size(10_000, 16), Size(1000, 2)  # interleaved keys; files of SKAB
FITTED = 400  # rows of a file that the protocol trains on
LENGTH = unless_tiny(60, 20)
STEPS = unless_tiny(USUAL_STEPS, 20)
RECIPE = 1.7
BOARD = 0.784  # Conv-AE, FAR 13.6 %, MAR 28.0 %, pooled over 34 files
LABELS = ("anomaly", "changepoint")
NAB_FILES = unless_tiny(7, 1)
NAB_SCORES: Mapping[str, Mapping[str, str]] = {"the default": {}, "--set score=whitened": {"score": "whitened"}}
NAB_BOARD = {  # of these seven files, from the sums of its results/*/*_scores.csv; then what the same lists give for all 58
    "standard": {"ARTime": (63.9, "74.9"), "HTM": (55.5, "70.1")},
    "low FP": {"ARTime": (52.2, "65.1")},
    "low FN": {"ARTime": (70.7, "80.4")},
}
NAB_SHARES = np.geomspace(1e-5, 0.3, unless_tiny(100, 5))  # of rows above the thresholds that are tried on alarms
FILE_ROWS = unless_tiny(100_000, 1000)  # and ten times as many, of `FILE_KEYS` interleaved keys
FILE_KEYS = 10
WINDOWED = unless_tiny(tuple(name for name, variant in VARIANTS.items() if variant.windowed), ("plain",))
JUDGED_ROWS = 5  # of each interleaved key
TURNS = 5


class Counts(NamedTuple):
    """Rows by verdict and label."""

    found: int
    false: int
    missed: int
    passed: int

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.found / max(2 * self.found + self.false + self.missed, 1)

    def __str__(self) -> str:
        """Give the two other figures of the board."""
        far, mar = self.false / max(self.false + self.passed, 1), self.missed / max(self.missed + self.found, 1)
        return f"FAR {far:.1%}, MAR {mar:.1%}"


def main() -> None:
    """Measure."""
    options = parse(__doc__, FULL, QUICK, rounds="files of SKAB")
    report = Report("series", quick=options.quick)
    folder = datasets.SHARED / "skab"
    with detectors.steps(STEPS), tempfile.TemporaryDirectory() as work:
        if folder.is_dir():
            on_skab(report, sorted((folder / "valve1").glob("*.csv"))[: options.rounds], Path(work))
            on_normal_rows(report, read(folder / "anomaly-free" / "anomaly-free.csv"), Path(work))
        else:
            report.leave_out(f"SKAB: {datasets.ABSENT}")
        if (datasets.SHARED / "nab").is_dir():
            on_nab(report, nab_scoring.read(datasets.SHARED / "nab")[:NAB_FILES], Path(work))
        else:
            report.leave_out(f"NAB: {datasets.ABSENT}")
        speed(report, options, Path(work))
        memory(report, Path(work))
    report.leave_out("SKAB's valve2 and other, 18 of the board's 34 files: not among the public data sets beside this checkout")
    report.close(options.json)


def on_skab(report: Report, files: list[Path], work: Path) -> None:
    """Judge the files by the board's protocol, at two thresholds."""
    told: dict[str, list[Counts]] = {"default threshold": [], f"threshold {RECIPE}, the recipe's": [], "flag everything": []}
    seconds = []
    for file in files:
        frame = read(file)
        began = time.process_time()
        opened = trained(frame[:FITTED], work / file.stem)
        seconds.append(time.process_time() - began)
        labels = frame["anomaly"].cast(pl.Float64).to_numpy()[FITTED:] > 0
        verdicts = (flagged(opened, frame), flagged(at(opened, RECIPE), frame), np.ones(frame.height, dtype=bool))
        for counts, verdict in zip(told.values(), verdicts, strict=True):
            counts.append(compared(verdict[FITTED:], labels))
    for name, counts in told.items():
        pooled = Counts(*(sum(parts) for parts in zip(*counts, strict=True)))
        aim = BOARD if name.startswith("threshold") and len(files) == FULL.rounds else None
        spread = line(
            f"SKAB valve1, F1: {name}", [each.f1 for each in counts], at_least=aim, note=f"{pooled}; {len(files)} files"
        )
        report.add(spread.with_value(pooled.f1))
    report.add(line("SKAB, F1: the board's best, Conv-AE on 34 files", [BOARD], note="FAR 13.6%, MAR 28.0%"))
    report.add(line("SKAB valve1, processor seconds of training and export", seconds))


def on_normal_rows(report: Report, frame: pl.DataFrame, work: Path) -> None:
    """Train on the first third of the anomaly-free rows and say what is flagged of the rest."""
    third = frame.height // 3
    opened = trained(frame[:third], work / "anomaly-free")
    verdicts = Scorer(opened, "cpu").score(frame[third:], explain="none")
    assert verdicts.fates is not None  # noqa: S101 - it is a series
    judged = verdicts.fates == JUDGED
    promised, stretches = opened.manifest.decision.false_alarm_rate, int(judged.sum()) // LENGTH
    note = f"{verdicts.alarms} alarms in {stretches} stretches of {LENGTH} rows, where {promised:.1%} of stretches were promised"
    report.add(line("SKAB anomaly-free: share of the later rows flagged", [float(verdicts.is_anomaly[judged].mean())], note=note))


def on_nab(report: Report, files: Sequence[nab_scoring.File], work: Path) -> None:
    """Judge NAB's files by its rules, with two scores."""
    marks = [nab_scoring.marked(file.frame.height, file.windows) for file in files]
    for name, settings in NAB_SCORES.items():
        scores = []
        for file in files:
            taught = file.frame[: nab_scoring.probation(file.frame.height)]
            opened = trained(taught, work / name / file.name, "timestamp", settings)
            scores.append(streamed(opened, file.frame) / opened.manifest.decision.threshold)
        there = np.concatenate([score[mark.judged & np.isfinite(score)] for mark, score in zip(marks, scores, strict=True)])
        thresholds = [1.0, np.inf, *np.unique(np.quantile(there, 1 - NAB_SHARES))]  # 1: each detector's own; inf: silence
        told = [[beginnings(score, threshold) for score in scores] for threshold in thresholds]
        for application, profile in nab_scoring.PROFILES.items():
            tried = [nab_scoring.judged(marks, some, profile, at) for some, at in zip(told, thresholds, strict=True)]
            own, best, rows = tried[0], max(tried), nab_scoring.best(marks, scores, profile)
            windows = sum(len(mark.windows) for mark in marks)
            note = (
                f"{best.found} of {windows} windows, {best.false} false alarms, at {best.threshold:.2f} of a file's threshold; "
                f"at 1: {own.score:.1f} ({own.found}, {own.false}); if each row above counts: {rows.score:.1f}"
            )
            report.add(line(f"NAB realKnownCause, {application}: {name}", [best.score], note=note))
    for application, board in NAB_BOARD.items():
        for detector, (score, whole) in board.items():
            report.add(
                line(f"NAB realKnownCause, {application}: {detector}, published", [score], note=f"on all 58 files {whole}")
            )


def beginnings(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Tell at which rows an alarm begins, by the code that serves; a row without a score begins anew."""
    state, alarm, told = AlarmState(), Alarm(), np.zeros(len(scores), dtype=bool)
    for place, score in enumerate(scores.tolist()):
        if score != score:  # noqa: PLR0124 - NaN
            state.clear()
            continue
        was_on = state.is_on
        state.step(alarm, threshold, score)
        told[place] = state.is_on and not was_on
    return told


def memory(report: Report, work: Path) -> None:
    """Measure the peak memory of scoring a file, and one of ten times as many rows."""
    frame = sensors(0, FILE_KEYS * FITTED)
    wishes = ColumnOptions(time="datetime", key="key")
    recipe = Recipe(variant="plain", window=LENGTH, columns=wishes, device="cpu")
    made = train(Table(frame, np.arange(frame.height), []), work / "file", recipe).folder
    used = []
    for times in (1, 10):
        path = work / f"{times}.csv"
        with path.open("wb") as file:
            for start in range(0, times * FILE_ROWS, FILE_ROWS):
                sensors(start, FILE_ROWS).write_csv(file, include_header=not start, float_precision=6)
        used.append(measure(RESIDUUM, "score", made, path, "--to", work / f"{times}-scored.csv", threads=1))
    few, many = used
    note = f"{many.peak:.0f} MB on {10 * FILE_ROWS:,} rows of {FILE_KEYS} interleaved keys, in {many.wall:.0f} s"
    report.add(line("residuum score, peak memory on ten times as many rows", [many.peak / few.peak], at_most=1.1, note=note))


def sensors(start: int, rows: int) -> pl.DataFrame:
    """Give rows of interleaved keys, from a row on."""
    matrix = np.random.default_rng(start).normal(size=(rows, 8))
    frame, at = pl.DataFrame(matrix, schema=[f"sensor {place}" for place in range(8)]), np.arange(start, start + rows)
    return frame.with_columns(datetime=pl.Series(at // FILE_KEYS), key=pl.Series(at % FILE_KEYS).cast(pl.String))


def speed(report: Report, options: Options, work: Path) -> None:
    """Time graphs, and a run over many interleaved keys."""
    random = np.random.default_rng(0)
    names = [f"sensor {place}" for place in range(8)]
    frame = pl.DataFrame(random.normal(size=(FITTED, 8)), schema=names).with_columns(datetime=pl.int_range(FITTED))
    for variant in WINDOWED:
        graphs(report, variant, frame, work)
    opened = trained(frame, work / "keys")
    assert opened.manifest.window is not None  # noqa: S101 - it is a series
    window = msgspec.structs.replace(opened.manifest.window, key="key")
    keyed = msgspec.structs.replace(opened.manifest, window=window)
    bytes_per_key(report, window, options.rows)
    scorer = Scorer(opened._replace(manifest=keyed), "cpu")
    session, rates = scorer.session(), []
    for turn in range(LENGTH + JUDGED_ROWS):
        rows = pl.DataFrame(random.normal(size=(options.rows, 8)), schema=names)
        rows = rows.with_columns(datetime=pl.lit(turn), key=pl.int_range(options.rows).cast(pl.String))
        began = time.process_time()
        session.score(rows, explain="anomalies")
        rates.append(options.rows / (time.process_time() - began))
    report.add(line(f"rows/s of a core, {options.rows:,} interleaved keys", rates[LENGTH:], note=f"windows of {LENGTH} x 8"))


def graphs(report: Report, variant: str, frame: pl.DataFrame, work: Path) -> None:
    """Time a variant's graph in ONNX Runtime beside torch, in turns."""
    recipe = Recipe(variant=variant, window=LENGTH, columns=ColumnOptions(time="datetime"), device="cpu")
    table = Table(frame, np.arange(frame.height), [])
    with detectors.steps(20), one_thread():  # the weights do not matter
        material = prepare(table, recipe)
        layout = build_layout(material.matrix, material.columns)
        learnt = learn(layout, material, windowed_plan(variant), 0, torch.device("cpu"), ignore_progress)
        served = Scorer(bundle.read(train(table, work / variant, recipe).folder), "cpu").graph
    with one_thread(), torch.inference_mode():
        for size in family.BATCHES:
            windows = np.random.default_rng(1).normal(size=(size, LENGTH, 8))
            tensor = torch.from_numpy(windows)
            runs = partial(learnt.graph, tensor), partial(served.explain, windows)
            both = [(family.seconds(runs[0]), family.seconds(runs[1])) for _ in range(TURNS)]
            ratios = [eager / runtime for eager, runtime in both]
            each = statistics.median(runtime for _, runtime in both) / size * 1e6
            aim = 1.0 if variant == "convolutional" else None
            note = f"{each:,.3g} us a window"
            report.add(line(f"{variant}: torch / ours at {size} windows", ratios, at_least=aim, note=note))


def bytes_per_key(report: Report, window: Window, keys: int) -> None:
    """Say what a key costs in memory, and saved."""
    windows = Windows(window, 8)
    tracemalloc.start()
    windows.update([str(key) for key in range(keys)], np.zeros(keys), np.zeros((keys, 8)))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    for turn in range(1, LENGTH):
        windows.update(["0"], np.full(1, turn), np.zeros((1, 8)))
    note = f"{keys:,} keys; saved, a key has {len(windows.save('0')):,} bytes"
    report.add(line(f"bytes of memory a key, windows of {window.length} x 8", [held / keys], note=note))


def trained(frame: pl.DataFrame, to: Path, time: str = "datetime", settings: Mapping[str, str] = MappingProxyType({})) -> Bundle:
    """Train by the code that trains; what labels a file is left out, where it has labels."""
    wishes = ColumnOptions(time=time, ignore=tuple(name for name in LABELS if name in frame.columns))
    recipe = Recipe(variant="plain", settings=dict(settings), window=LENGTH, columns=wishes, device="cpu")
    return bundle.read(train(Table(frame, np.arange(frame.height), []), to, recipe).folder)


def at(opened: Bundle, threshold: float) -> Bundle:
    """Move the threshold."""
    decision = msgspec.structs.replace(opened.manifest.decision, threshold=threshold, promise="value", criterion="as said")
    return opened._replace(manifest=msgspec.structs.replace(opened.manifest, decision=decision))


def flagged(opened: Bundle, frame: pl.DataFrame) -> np.ndarray:
    """Judge a whole file by the code that serves; a row without a verdict is not flagged."""
    verdicts = Scorer(opened, "cpu").score(frame, explain="none")
    told = np.zeros(frame.height, dtype=bool)
    told[verdicts.accepted] = verdicts.is_anomaly
    return told


def streamed(opened: Bundle, frame: pl.DataFrame) -> np.ndarray:
    """Score a whole file by the code that serves, `float64[rows]`: NaN where there is no verdict."""
    verdicts = Scorer(opened, "cpu").score(frame, explain="none")
    scores = np.full(frame.height, np.nan)
    scores[verdicts.accepted] = verdicts.score
    return scores


def compared(verdict: np.ndarray, labels: np.ndarray) -> Counts:
    """Count."""
    found, false = int((verdict & labels).sum()), int((verdict & ~labels).sum())
    return Counts(found, false, int(labels.sum()) - found, int((~labels).sum()) - false)


def read(path: Path) -> pl.DataFrame:
    """Read a file of SKAB as text, as the door for files does."""
    return pl.read_csv(path, separator=";", infer_schema_length=0)


if __name__ == "__main__":
    main()
