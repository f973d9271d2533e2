"""Claim: on any data, the share of fresh normal rows that is flagged is the promised one.

The normal rows of each ADBench data set are shuffled; half of them train a detector with the project's own split (training,
validation, calibration rows), the other half is fresh; ten times per data set. With n calibration scores and
k = floor((n + 1) a), a threshold that promises the rate a has a false-alarm rate with mean k / (n + 1) and distribution
Beta(k, n + 1 - k), so the number of alarms among m fresh rows is beta-binomial. The pooled rate of all splits must lie within
the central 95 % of the pooled rates that numpy draws from that distribution; one run in twenty may fall outside by chance. A
rate below it keeps the promise of "at most", but not tightly: where many rows have exactly the same score, the conformal
threshold lies above them. A run on generated rows, new ones for each of 200 seeds, does the same. Data sets with too few rows
for a rate are listed.

Tables of fewer than 2,000 rows are cross-fitted by default, and their promise is empirical: the model that scores has seen more
rows than those that calibrated it, so their pooled rates must not exceed that band, and must reach half of the promise.

Two short cuts, neither of which affects the promise: training takes a few hundred steps instead of thousands (the promise holds
for any score function), and scores come from the torch module before its export (each bundle is proved to score within 1e-5 of
it). Both rates are decided on one calibration set, as `residuum calibrate` does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np

from benchmarks.harness import datasets, detectors
from benchmarks.harness.options import Options, Size, parse, unless_tiny
from benchmarks.harness.report import Report, line
from detector.decision import required_rows
from training.split import MIN_ROWS

FULL, QUICK = Size(4000, 10), Size(1000, 2)  # normal rows per data set at most, splits per data set
SEEDS_PER_ROUND = unless_tiny(20, 2)  # of generated rows
GENERATED_ROWS, GENERATED_FRESH = {"generated, few rows": 1000, "generated, many rows": 2500}, 2000
LEAST = 0.5  # of the promise, where it is empirical
RATES = (0.01, 0.05)
STEPS = unless_tiny(200, 50)
DRAWS = 20_000
CENTRAL = (0.025, 0.975)


class Trial(NamedTuple):
    """The alarms of one detector at one promised rate."""

    name: str
    split: int
    rate: float
    is_empirical: bool  # by cross-fitting
    calibration: int  # rows, n
    allowed: int  # floor((n + 1) rate), k
    fresh: int  # rows, m
    alarms: int
    ties: float  # share of calibration rows with the same score as another one

    @property
    def promised(self) -> float:
        """The mean of the false-alarm rate over calibration sets: k / (n + 1)."""
        return self.allowed / (self.calibration + 1)


Split = tuple[np.ndarray, np.ndarray]  # rows to train on, fresh rows


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__, FULL, QUICK, rounds="splits per data set, and twentieths of the seeds of generated rows")
    report = Report("false_alarms", quick=options.quick)
    with detectors.steps(STEPS):
        generated = [
            trial
            for name, rows in GENERATED_ROWS.items()
            for trial in try_all(name, partial(new_rows, rows), SEEDS_PER_ROUND * options.rounds)
        ]
        real = try_sets(report, options)
    show_data_sets(report, [*real, *generated])
    check_rates(report, "generated rows", generated, options.rounds)
    check_rates(report, "ADBench", real, options.rounds)
    report.details["trials"] = [trial._asdict() for trial in (*real, *generated)]
    report.close(options.json)


def try_sets(report: Report, options: Options) -> list[Trial]:
    """Run the trials on all data sets of ADBench."""
    if not datasets.names():
        report.leave_out(f"ADBench: {datasets.ABSENT}")
    trials: list[Trial] = []
    for name in unless_tiny(datasets.names(), datasets.names()[:2]):
        normal = datasets.adbench(name).normal
        if len(normal) // 2 < MIN_ROWS:
            report.leave_out(f"{name}: {len(normal)} normal rows are too few to train on the half of them")
            continue
        tried = try_all(name, partial(halves, normal, options.rows), options.rounds)
        for rate in sorted(set(RATES) - {trial.rate for trial in tried}):
            report.leave_out(f"{name} at {rate:.0%}: {len(normal)} normal rows are too few to promise that from the half of them")
        trials += tried
    return trials


def try_all(name: str, split: Callable[[int], Split], splits: int) -> list[Trial]:
    """Train a detector on each split and count the alarms at each rate that it can promise."""
    return [trial for seed in range(splits) for trial in try_one(name, *split(seed), seed)]


def try_one(name: str, training: np.ndarray, fresh: np.ndarray, seed: int) -> Iterable[Trial]:
    """Train a detector and count the alarms at each rate that it can promise."""
    detector = detectors.detector(detectors.frame(training), seed)
    calibration = detector.calibration
    scores = detector.scores(detectors.frame(fresh))
    ties = 1 - len(np.unique(calibration.scores.round(9))) / len(calibration)
    for rate in RATES:
        if len(calibration) < required_rows(rate):
            continue
        alarms = int(calibration.decide(rate).is_anomaly(scores).sum())
        allowed = calibration.alarms_allowed(rate)
        yield Trial(name, seed, rate, calibration.out_of_fold, len(calibration), allowed, len(scores), alarms, ties)


def halves(rows: np.ndarray, max_rows: int, seed: int) -> Split:
    """Return two halves of at most `max_rows` shuffled rows; the seed of the split differs from that of the training."""
    chosen = rows[np.random.default_rng([seed, 7]).permutation(len(rows))[:max_rows]]
    return chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :]


def new_rows(training: int, seed: int) -> Split:
    """Return generated rows: two factors, heavy tails, a column of few values."""
    random = np.random.default_rng([seed, 8])
    rows = training + GENERATED_FRESH
    factors = random.normal(size=(rows, 2)) @ random.normal(size=(2, 5))
    matrix = np.hstack([factors + 0.2 * random.normal(size=(rows, 5)), np.exp(2 * random.normal(size=(rows, 1)))])
    matrix = np.hstack([matrix, random.integers(0, 4, size=(rows, 1))])
    return matrix[:training], matrix[training:]


def check_rates(report: Report, name: str, trials: list[Trial], rounds: int) -> None:
    """Compare the pooled rate of each promise with its central 95 %."""
    for rate, is_empirical in itertools.product(RATES, (False, True)):
        selected = [trial for trial in trials if (trial.rate, trial.is_empirical) == (rate, is_empirical)]
        if not selected:
            continue
        low, high = (100 * bound for bound in allowed(selected))
        if is_empirical:
            low = 100 * LEAST * promised(selected)
        by_round = [100 * pooled([trial for trial in selected if trial.split % rounds == number]) for number in range(rounds)]
        note = (
            f"{promised(selected):.3%} promised; {len(selected)} detectors, {sum(trial.fresh for trial in selected):,} fresh rows"
        )
        how = "cross-fitted" if is_empirical else "split"
        pooled_line = line(f"{name}, {how}, {rate:.0%}: flagged, %", by_round, at_least=low, at_most=high, note=note)
        report.add(pooled_line.with_value(100 * pooled(selected)))


def show_data_sets(report: Report, trials: list[Trial]) -> None:
    """Print the data sets one by one; of so many, some lie outside their own 95 %."""
    rows = []
    for name in dict.fromkeys(trial.name for trial in trials):
        for rate in RATES:
            selected = [trial for trial in trials if (trial.name, trial.rate) == (name, rate)]
            if selected:
                low, high = allowed(selected)
                found = pooled(selected)
                inside = "" if low <= found <= high else "below" if found < low else "ABOVE"
                cells = (f"{rate:.0%}", f"{promised(selected):.3%}", f"{found:.3%}", f"{low:.3%} to {high:.3%}", inside)
                rows.append([name, *cells, str(selected[0].calibration), f"{np.mean([trial.ties for trial in selected]):.0%}"])
    headers = ("data set", "rate", "promised", "flagged", "central 95 %", "", "calibration rows", "ties")
    report.show("pooled over the splits of each data set", headers, rows)


def pooled(trials: list[Trial]) -> float:
    """Return the share of all fresh rows that was flagged."""
    return sum(trial.alarms for trial in trials) / sum(trial.fresh for trial in trials)


def promised(trials: list[Trial]) -> float:
    """Return the expected share."""
    return sum(trial.promised * trial.fresh for trial in trials) / sum(trial.fresh for trial in trials)


def allowed(trials: list[Trial]) -> tuple[float, float]:
    """Return the central 95 % of the pooled share, drawn: for each detector its true rate, then its alarms."""
    random = np.random.default_rng(0)
    alarms = np.zeros(DRAWS)
    for trial in trials:
        rate = random.beta(trial.allowed, trial.calibration + 1 - trial.allowed, DRAWS)
        alarms += random.binomial(trial.fresh, rate)
    low, high = np.quantile(alarms / sum(trial.fresh for trial in trials), CENTRAL)
    return float(low), float(high)


if __name__ == "__main__":
    main()
