"""Claim: what training rows and columns are spoilt by costs a default detector no more than it costs k nearest neighbours.

Eight data sets of ADBench, split as in `tables.py`. Each is spoilt in six ways: 10 % and 30 % of all cells are missing at
random, in training and test rows; anomalies are 5 % of the training rows, with and without `contamination=0.05`, and leave the
test; 50 columns of Gaussian noise are added; one column is multiplied by a million. A line is the mean loss of AUROC against
the same detector on the clean set; the target is kNN's loss (z-scored, distance to the 5th neighbour; missing cells become the
column's mean), and half of it for anomalies among the training rows. Sets with too few anomalies for their share are left out
and named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.harness import datasets, detectors
from benchmarks.harness.family import Task
from benchmarks.harness.options import Options, Size, parse, unless_tiny
from benchmarks.harness.report import Report, line
from benchmarks.quality.tables import PEER, STEPS, nearest_neighbours, table
from training.variants import DEFAULT

FULL, QUICK = Size(5000, 3), Size(1000, 1)  # rows to train on and to score at most; seeds
SETS = unless_tiny(
    ("45_wine", "14_glass", "29_Pima", "43_WDBC", "40_vowels", "6_cardio", "12_fault", "2_annthyroid"), ("45_wine", "14_glass")
)
DIRTY = 0.05  # of the training rows
DIRTY_ROWS = f"{DIRTY:.0%} anomalies among the training rows"
SETTINGS = {f"{DIRTY_ROWS}, and told so": {"contamination": str(DIRTY)}}
NOISE = 50  # columns
LARGE = 1e6
MAX_SHARE_OF_ANOMALIES = 0.5  # that may move to the training rows


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__, FULL, QUICK, rounds="seeds")
    report = Report("quality_robustness", quick=options.quick)
    if not datasets.SHARED.is_dir():
        report.leave_out(f"everything: {datasets.ABSENT}")
        report.close(options.json)
        return
    with detectors.steps(STEPS):
        losses = {name: losses_of(name, options, report) for name in SETS}
    for way in WAYS:
        found = [loss[way] for loss in losses.values() if way in loss]
        if not found:
            continue
        ours, peer = (np.array([each[detector] for each in found]) for detector in (DEFAULT, PEER))
        limit = float(peer.mean()) * (0.5 if way.startswith(DIRTY_ROWS) else 1.0)
        note = f"{len(found)} sets; {PEER} loses {peer.mean():.4f}"
        report.add(line(f"{way}: AUROC lost", ours.tolist(), at_most=limit, note=note).with_value(float(ours.mean())))
    report.close(options.json)


def losses_of(name: str, options: Options, report: Report) -> dict[str, dict[str, float]]:
    """Return the loss of each detector on one data set, by what it was spoilt by, as means over seeds."""
    losses: dict[str, dict[str, list[float]]] = {}
    for seed in range(options.rounds):
        task = table(name, seed, options.rows)
        clean = areas(task, seed)
        for way, spoil in WAYS.items():
            spoilt = spoil(task, np.random.default_rng([seed, 5]))
            if spoilt is None:
                report.leave_out(f"{name}, {way}: {int(task.is_anomaly.sum())} anomalies are too few")
                continue
            for detector, area in areas(spoilt, seed, SETTINGS.get(way, {})).items():
                losses.setdefault(way, {}).setdefault(detector, []).append(clean[detector] - area)
    means = {way: {detector: float(np.mean(values)) for detector, values in each.items()} for way, each in losses.items()}
    report.log(f"{name}: " + "; ".join(f"{way} {each[DEFAULT]:.3f} ({PEER} {each[PEER]:.3f})" for way, each in means.items()))
    return means


def areas(task: Task, seed: int, settings: Mapping[str, str] = MappingProxyType({})) -> dict[str, float]:
    """Return the AUROC of each detector."""
    detector = detectors.detector(detectors.frame(task.normal), seed, settings=settings)
    scores = {DEFAULT: detector.scores(detectors.frame(task.rows)), PEER: nearest_neighbours(imputed(task))}
    return {name: float(roc_auc_score(task.is_anomaly, values)) for name, values in scores.items()}


def imputed(task: Task) -> Task:
    """Return a task whose missing cells are the means of the training rows."""
    means = np.nanmean(task.normal, axis=0)
    normal, rows = (np.where(np.isnan(part), means, part) for part in (task.normal, task.rows))
    return task._replace(normal=normal, rows=rows)


def with_holes(share: float) -> Callable[[Task, np.random.Generator], Task]:
    """Return what removes a share of all cells."""

    def spoil(task: Task, random: np.random.Generator) -> Task:
        normal, rows = (np.where(random.random(part.shape) < share, np.nan, part) for part in (task.normal, task.rows))
        return task._replace(normal=normal, rows=rows)

    return spoil


def with_anomalies(task: Task, random: np.random.Generator) -> Task | None:
    """Move anomalies from the test rows to the training rows; None if they are too few."""
    anomalies = np.flatnonzero(task.is_anomaly)
    moved = round(DIRTY / (1 - DIRTY) * len(task.normal))
    if not 1 <= moved <= MAX_SHARE_OF_ANOMALIES * len(anomalies):
        return None
    chosen = random.permutation(anomalies)[:moved]
    normal = random.permutation(np.vstack([task.normal, task.rows[chosen]]))
    return task._replace(normal=normal, rows=np.delete(task.rows, chosen, axis=0), is_anomaly=np.delete(task.is_anomaly, chosen))


def with_noise(task: Task, random: np.random.Generator) -> Task:
    """Add columns of noise."""
    normal, rows = (np.hstack([part, random.normal(size=(len(part), NOISE))]) for part in (task.normal, task.rows))
    return task._replace(normal=normal, rows=rows)


def in_other_units(task: Task, random: np.random.Generator) -> Task:
    """Multiply one column."""
    factors = np.ones(task.normal.shape[1])
    factors[random.integers(len(factors))] = LARGE
    return task._replace(normal=task.normal * factors, rows=task.rows * factors)


WAYS: Mapping[str, Callable[[Task, np.random.Generator], Task | None]] = {
    "10 % of the cells missing": with_holes(0.1),
    "30 % of the cells missing": with_holes(0.3),
    DIRTY_ROWS: with_anomalies,
    f"{DIRTY_ROWS}, and told so": with_anomalies,
    f"{NOISE} columns of noise": with_noise,
    "another unit": in_other_units,
}


if __name__ == "__main__":
    main()
