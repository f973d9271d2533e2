"""Claim: training takes seconds and finds what PyOD's AutoEncoder finds.

The default variant, which has no learning curve, gives the AUROC on fresh rows; the curve is that of `denoising`. It and PyOD
train on the same normal rows and score the same fresh rows, one after the other in each round: NSL-KDD (one-hot and standardised
for PyOD) and four data sets of ADBench, half of whose normal rows train, with a new split in each round from a fixed seed. Lines
give the CPU time to the plateau (the first check whose loss is within 1 % of the best one), ours / PyOD's, and the AUROC with
those of the two networks in the note. The time runs from the table to the last training step; export, calibration and proof take
some seconds whatever the number of rows and are not included. `benchmarks.harness.learning_curves` documents the settings of
PyOD. The AUROC on NSL-KDD has a target of its own: 0.970.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import polars as pl
from sklearn.metrics import roc_auc_score

from benchmarks.harness import datasets, detectors, learning_curves
from benchmarks.harness.learning_curves import CurveTask, LearningCurve
from benchmarks.harness.options import Options, Size, parse, unless_tiny
from benchmarks.harness.report import Report, line
from training.fit import STEPS as USUAL_STEPS

FULL, QUICK = Size(100_000, 3), Size(2000, 1)  # training rows at most
SETS = unless_tiny(("6_cardio", "19_landsat", "28_pendigits", "38_thyroid"), ("6_cardio",))
STEPS = unless_tiny(USUAL_STEPS, 50)
NSL_KDD = "NSL-KDD"
AT_LEAST = 0.970
NORMAL = "normal"


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__, FULL, QUICK, rounds="seeds")
    report = Report("training", quick=options.quick)
    if not datasets.SHARED.is_dir():
        report.leave_out(f"everything: {datasets.ABSENT}")
    else:
        with_pyod = not _no_pyod(report)
        with detectors.steps(STEPS):
            for name in (NSL_KDD, *SETS):
                measure(report, name, options, with_pyod=with_pyod)
    report.close(options.json)


def measure(report: Report, name: str, options: Options, *, with_pyod: bool) -> None:
    """Train on one data set with several seeds."""
    ours, others, aurocs, network_aurocs, other_aurocs = [], [], [], [], []
    for seed in range(options.rounds):
        data = task(name, options.rows, seed)
        ours.append(learning_curves.ours(data, seed))
        network_aurocs.append(float(roc_auc_score(data.is_anomaly, ours[-1].scores)))
        default = detectors.detector(data.training, seed)
        aurocs.append(float(roc_auc_score(data.is_anomaly, default.scores(data.fresh))))
        if with_pyod:
            others.append(learning_curves.pyod(data, seed))
            other_aurocs.append(float(roc_auc_score(data.is_anomaly, others[-1].scores)))
    target = AT_LEAST if name == NSL_KDD and not options.quick else None
    note = f"{np.median(network_aurocs):.4f} by denoising" + (f", PyOD's {np.median(other_aurocs):.4f}" if others else "")
    report.add(line(f"{name}: AUROC", aurocs, at_least=target, note=note))
    times = f"{_seconds(ours)} ours" + (f", {_seconds(others)} PyOD's" if others else "")
    if others:
        ratios = [curve.plateau / other.plateau for curve, other in zip(ours, others, strict=True)]
        report.add(line(f"{name}: time to the plateau, ours / PyOD", ratios, note=times))
    else:
        report.add(line(f"{name}: seconds to the plateau", [curve.plateau for curve in ours], note=times))


def task(name: str, max_rows: int, seed: int) -> CurveTask:
    """Return a data set with at most `max_rows` training rows."""
    random = np.random.default_rng([seed, 9])
    if name == NSL_KDD:
        training = pl.read_csv(datasets.nsl_kdd("train_normal.csv"), infer_schema_length=None)
        fresh = pl.read_csv(datasets.nsl_kdd("test_labelled.csv"), infer_schema_length=None)
        chosen = training[np.sort(random.permutation(training.height)[:max_rows])]
        return CurveTask(name, chosen, fresh.select(training.columns), (fresh["label"] != NORMAL).to_numpy())
    labelled = datasets.adbench(name)
    normal = random.permutation(labelled.normal)
    half = len(normal) // 2
    matrix = np.vstack([normal[half:], labelled.anomalies])
    is_anomaly = np.arange(len(matrix)) >= len(normal) - half
    return CurveTask(name, detectors.frame(normal[:half][:max_rows]), detectors.frame(matrix), is_anomaly)


def _seconds(curves: list[LearningCurve]) -> str:
    """Return the median times to the plateau and to the end as text."""
    return f"{np.median([curve.plateau for curve in curves]):.2f} s of {np.median([curve.total for curve in curves]):.2f} s"


def _no_pyod(report: Report) -> bool:
    """Return whether PyOD is missing, and report it; its deep models import tqdm, which it does not require."""
    absent = [name for name in ("pyod", "tqdm") if importlib.util.find_spec(name) is None]
    if absent:
        report.leave_out(f"PyOD: pip install {' '.join(absent)}")
    return bool(absent)


if __name__ == "__main__":
    main()
