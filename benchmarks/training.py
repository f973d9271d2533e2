"""Claim: training takes seconds and finds what PyOD's AutoEncoder finds.

Both learn from the same normal rows and score the same fresh rows, one after the other in each round: NSL-KDD (PyOD gets it
one-hot and standardised) and four sets of ADBench, half of whose normal rows train, the split drawn anew for each round
with a fixed seed. Lines give the processor time to the plateau (the first check whose loss is within 1 % of the best one),
ours / PyOD's, and the AUROC on fresh rows, PyOD's beside it. The time is residuum's from the table to the last step of
training; what follows (export, calibration, proof) takes some seconds whatever the rows and is not in it. `_watched` says
how PyOD is set. NSL-KDD's AUROC has a target of its own: 0.955.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import polars as pl
from sklearn.metrics import roc_auc_score

from benchmarks import _data, _trained, _watched
from benchmarks._options import Options, Size, parse, unless_tiny
from benchmarks._report import Report, line
from benchmarks._watched import Learnt, Task
from training.fit import STEPS as USUAL_STEPS

FULL, QUICK = Size(100_000, 3), Size(2000, 1)  # training rows at most
SETS = unless_tiny(("6_cardio", "19_landsat", "28_pendigits", "38_thyroid"), ("6_cardio",))
STEPS = unless_tiny(USUAL_STEPS, 50)
NSL_KDD = "NSL-KDD"
AT_LEAST = 0.955
NORMAL = "normal"


def main() -> None:
    """Measure."""
    options = parse(__doc__, FULL, QUICK, rounds="seeds")
    report = Report("training", quick=options.quick)
    if not _data.SHARED.is_dir():
        report.leave_out(f"everything: {_data.ABSENT}")
    else:
        beside = not _no_pyod(report)
        with _trained.steps(STEPS):
            for name in (NSL_KDD, *SETS):
                measure(report, name, options, beside_pyod=beside)
    report.close(options.json)


def measure(report: Report, name: str, options: Options, *, beside_pyod: bool) -> None:
    """Train on one set, with several seeds."""
    mine, others, aurocs, other_aurocs = [], [], [], []
    for seed in range(options.rounds):
        one = task(name, options.rows, seed)
        mine.append(_watched.ours(one, seed))
        aurocs.append(float(roc_auc_score(one.is_anomaly, mine[-1].scores)))
        if beside_pyod:
            others.append(_watched.pyod(one, seed))
            other_aurocs.append(float(roc_auc_score(one.is_anomaly, others[-1].scores)))
    target = AT_LEAST if name == NSL_KDD and not options.quick else None
    besides = f"PyOD's {np.median(other_aurocs):.4f}" if others else ""
    report.add(line(f"{name}: AUROC", aurocs, at_least=target, note=besides))
    said = f"{_seconds(mine)} ours" + (f", {_seconds(others)} PyOD's" if others else "")
    if others:
        ratios = [ours.plateau / other.plateau for ours, other in zip(mine, others, strict=True)]
        report.add(line(f"{name}: time to the plateau, ours / PyOD", ratios, note=said))
    else:
        report.add(line(f"{name}: seconds to the plateau", [one.plateau for one in mine], note=said))


def task(name: str, most: int, seed: int) -> Task:
    """Give a set's rows, at most so many to train on."""
    random = np.random.default_rng([seed, 9])
    if name == NSL_KDD:
        training = pl.read_csv(_data.nsl_kdd("train_normal.csv"), infer_schema_length=None)
        fresh = pl.read_csv(_data.nsl_kdd("test_labelled.csv"), infer_schema_length=None)
        chosen = training[np.sort(random.permutation(training.height)[:most])]
        return Task(name, chosen, fresh.select(training.columns), (fresh["label"] != NORMAL).to_numpy())
    labelled = _data.adbench(name)
    normal = random.permutation(labelled.normal)
    half = len(normal) // 2
    matrix = np.vstack([normal[half:], labelled.anomalies])
    is_anomaly = np.arange(len(matrix)) >= len(normal) - half
    return Task(name, _trained.frame(normal[:half][:most]), _trained.frame(matrix), is_anomaly)


def _seconds(some: list[Learnt]) -> str:
    """Say how long it took to the plateau, and to the end."""
    return f"{np.median([one.plateau for one in some]):.2f} s of {np.median([one.whole for one in some]):.2f} s"


def _no_pyod(report: Report) -> bool:
    """Say that PyOD is not there, if so; its deep models import tqdm, which it does not require."""
    absent = [name for name in ("pyod", "tqdm") if importlib.util.find_spec(name) is None]
    if absent:
        report.leave_out(f"PyOD: pip install {' '.join(absent)}")
    return bool(absent)


if __name__ == "__main__":
    main()
