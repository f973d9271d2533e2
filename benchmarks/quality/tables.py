"""Claim: with default settings, a detector finds more of the anomalies in tables than k nearest neighbours.

22 classical data sets of ADBench (Han et al. 2022): half of the normal rows train, the others and all anomalies are scored, with
default settings and no labels. A line is the mean AUROC, the mean average precision, or the mean share of anomalies above the
default threshold, over the sets; the note is the difference to kNN (z-scored, distance to the 5th neighbour) with its 95 %
bootstrap interval over sets. kNN's threshold is set, with hindsight, to the false alarms that the default detector raised on the
test rows. `NOTES.md` beside this script lists what was tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.stats import bootstrap
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from benchmarks.harness import datasets, detectors
from benchmarks.harness.family import NEIGHBOURS, Task
from benchmarks.harness.options import Options, Size, parse, unless_tiny
from benchmarks.harness.report import Report, line
from training.fit import STEPS as USUAL_STEPS
from training.variants import DEFAULT

FULL, QUICK = Size(20_000, 3), Size(2000, 1)  # rows to train on and to score at most; seeds
SETS = unless_tiny(tuple(path.stem for path in sorted((datasets.SHARED / "adbench").glob("*.npz"))), ("45_wine", "14_glass"))
STEPS = unless_tiny(USUAL_STEPS, 30)
VARIANTS = (DEFAULT,)  # `benchmarks.variants` compares the others; a network takes minutes for all sets
PEER = "kNN"
AUROC, PRECISION, CAUGHT = 0.900, 0.035, 0.05  # of the default: the mean over all sets, and by how much the others exceed kNN's

Measure = Callable[[np.ndarray, np.ndarray], float]
RANKING: Mapping[str, Measure] = {"AUROC": roc_auc_score, "average precision": average_precision_score}
FOUND = "anomalies caught"
MEASURES = (*RANKING, FOUND)


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__, FULL, QUICK, rounds="seeds")
    report = Report("quality_tables", quick=options.quick)
    if not datasets.SHARED.is_dir():
        report.leave_out(f"everything: {datasets.ABSENT}")
        report.close(options.json)
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in (PEER, *VARIANTS)}
    with detectors.steps(STEPS):
        for name in SETS:
            for seed in range(options.rounds):
                for detector, measured in on_table(table(name, seed, options.rows), seed).items():
                    found[detector].append(measured)
            report.log(f"{name}: " + ", ".join(f"{each} {values[-1]['AUROC']:.3f}" for each, values in found.items()))
    add_means(report, found, options)
    report.close(options.json)


def on_table(task: Task, seed: int) -> dict[str, dict[str, float]]:
    """Return each detector's measures on one table."""
    scores, is_flagged = {PEER: nearest_neighbours(task)}, {}
    for variant in VARIANTS:
        detector = detectors.detector(detectors.frame(task.normal), seed, variant=variant)
        scores[variant] = detector.scores(detectors.frame(task.rows))
        is_flagged[variant] = detector.data.decide(detector.calibration).is_anomaly(scores[variant])
    is_flagged[PEER] = scores[PEER] > threshold_for(scores[PEER], is_flagged[DEFAULT], task.is_anomaly)
    return {
        name: {each: measure(task.is_anomaly, values) for each, measure in RANKING.items()}
        | {FOUND: float(is_flagged[name][task.is_anomaly].mean())}
        for name, values in scores.items()
    }


def threshold_for(scores: np.ndarray, is_flagged: np.ndarray, is_anomaly: np.ndarray) -> float:
    """Return the threshold under which these scores flag as many normal rows as another detector did."""
    normal = np.sort(scores[~is_anomaly])[::-1]
    return float(normal[int(is_flagged[~is_anomaly].sum())])


def add_means(report: Report, found: Mapping[str, list[dict[str, float]]], options: Options) -> None:
    """Add the mean of every measure, and the difference to the peer."""
    is_full = options.rows >= FULL.rows
    for measure in MEASURES:
        peer = np.array([each[measure] for each in found[PEER]])
        mean = float(peer.mean())
        bounds = {"AUROC": AUROC, "average precision": mean + PRECISION, FOUND: mean + CAUGHT}
        for name, measured in found.items():
            values = np.array([each[measure] for each in measured])
            note = "" if name == PEER else difference(values - peer)
            at_least = bounds[measure] if is_full and name == DEFAULT else None
            added = line(f"{measure}: {name}", values.tolist(), at_least=at_least, note=note)
            report.add(added.with_value(float(values.mean())))


def difference(values: np.ndarray) -> str:
    """Return the mean difference to the peer, with its bootstrap interval and the worst set, as text."""
    low, high = bootstrap((values,), np.mean, rng=0, method="percentile").confidence_interval
    return f"{values.mean():+.4f} to {PEER} ({low:+.4f} to {high:+.4f}), at worst {values.min():+.3f}"


def nearest_neighbours(task: Task) -> np.ndarray:
    """Return the distance of each row to its fifth neighbour among the training rows."""
    scaler = StandardScaler().fit(task.normal)
    model = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(scaler.transform(task.normal))
    distances: np.ndarray = model.kneighbors(scaler.transform(task.rows))[0]
    return distances[:, -1]


def table(name: str, seed: int, max_rows: int) -> Task:
    """Return a data set of ADBench; half of its normal rows train."""
    labelled, random = datasets.adbench(name), np.random.default_rng(seed)
    normal = random.permutation(labelled.normal)
    half = len(normal) // 2
    rows = np.vstack([normal[half:], labelled.anomalies])
    is_anomaly = np.arange(len(rows)) >= len(normal) - half
    chosen = random.permutation(len(rows))[:max_rows]
    return Task(name, normal[:half][:max_rows], rows[chosen], is_anomaly[chosen], scale=True)


if __name__ == "__main__":
    main()
