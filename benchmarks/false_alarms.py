"""Claim: of fresh normal rows, the share that is flagged is the promised one, on whatever data.

Normal rows of each set of ADBench are shuffled; half of them train a detector through residuum's own split (training,
validation, calibration rows), the other half is fresh; ten times a set. With n calibration scores and k = floor((n + 1) a),
a threshold that promises the rate a has a false-alarm rate of k / (n + 1) in the mean and Beta(k, n + 1 - k) around it,
so the alarms among m fresh rows are beta-binomial. The pooled rate of all splits has to lie within the central 95 % of
the pooled rates that numpy draws from exactly that; one run in twenty may fall outside by luck. Below it a promise of
"at most" is kept, but tightly it is not: where many rows have the very same score, the conformal threshold stays above
them. A run on generated rows, new ones for each of 200 seeds, does the same. Sets too small for a rate are listed.

Two short cuts, neither of which the promise knows of: training takes a few hundred steps instead of thousands (the promise
holds for any score function), and scores come from the torch module before its export (each bundle is proved to score
within 1e-5 of it). Both rates are decided on one calibration set, as `residuum calibrate` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np

from benchmarks import _data, _trained
from benchmarks._options import Options, Size, parse, unless_tiny
from benchmarks._report import Report, line
from detector.decision import Calibration, rows_for
from training.split import LEAST_ROWS

FULL, QUICK = Size(4000, 10), Size(1000, 2)  # normal rows a set at most, splits a set
SEEDS_A_ROUND = unless_tiny(20, 2)  # of generated rows
GENERATED_ROWS, GENERATED_FRESH = 1000, 2000
RATES = (0.01, 0.05)
STEPS = unless_tiny(200, 50)
DRAWS = 20_000
CENTRAL = (0.025, 0.975)


class Trial(NamedTuple):
    """The alarms of one detector at one promised rate."""

    name: str
    split: int
    rate: float
    calibration: int  # rows, n
    allowed: int  # floor((n + 1) rate), k
    fresh: int  # rows, m
    alarms: int
    ties: float  # share of calibration rows that share their score with another one

    @property
    def promised(self) -> float:
        """The mean of the false-alarm rate over calibration sets: k / (n + 1)."""
        return self.allowed / (self.calibration + 1)


Split = tuple[np.ndarray, np.ndarray]  # rows to train on, fresh rows


def main() -> None:
    """Measure."""
    options = parse(__doc__, FULL, QUICK, rounds="splits a set, and twentieths of the seeds of generated rows")
    report = Report("false_alarms", quick=options.quick)
    with _trained.steps(STEPS):
        generated = try_all("generated", new_rows, SEEDS_A_ROUND * options.rounds)
        real = try_sets(report, options)
    by_set(report, [*real, *generated])
    judge(report, "generated rows", generated, options.rounds)
    judge(report, "ADBench", real, options.rounds)
    report.details["trials"] = [trial._asdict() for trial in (*real, *generated)]
    report.close(options.json)


def try_sets(report: Report, options: Options) -> list[Trial]:
    """Try all sets of ADBench."""
    if not _data.names():
        report.leave_out(f"ADBench: {_data.ABSENT}")
    trials: list[Trial] = []
    for name in unless_tiny(_data.names(), _data.names()[:2]):
        normal = _data.adbench(name).normal
        if len(normal) // 2 < LEAST_ROWS:
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
    detector = _trained.detector(_trained.frame(training), seed)
    calibration = Calibration(detector.score(detector.calibrating))
    scores = detector.scores(_trained.frame(fresh))
    ties = 1 - len(np.unique(calibration.scores.round(9))) / len(calibration)
    for rate in RATES:
        if len(calibration) < rows_for(rate):
            continue
        alarms = int(calibration.decide(rate).is_anomaly(scores).sum())
        allowed = calibration.alarms_allowed(rate)
        yield Trial(name, seed, rate, len(calibration), allowed, len(scores), alarms, ties)


def halves(rows: np.ndarray, most: int, seed: int) -> Split:
    """Shuffle rows, at most so many, and cut them in two; the split's seed is not the training's."""
    chosen = rows[np.random.default_rng([seed, 7]).permutation(len(rows))[:most]]
    return chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :]


def new_rows(seed: int) -> Split:
    """Generate rows: two factors, heavy tails, a column of few values."""
    random = np.random.default_rng([seed, 8])
    rows = GENERATED_ROWS + GENERATED_FRESH
    factors = random.normal(size=(rows, 2)) @ random.normal(size=(2, 5))
    matrix = np.hstack([factors + 0.2 * random.normal(size=(rows, 5)), np.exp(2 * random.normal(size=(rows, 1)))])
    matrix = np.hstack([matrix, random.integers(0, 4, size=(rows, 1))])
    return matrix[:GENERATED_ROWS], matrix[GENERATED_ROWS:]


def judge(report: Report, name: str, trials: list[Trial], rounds: int) -> None:
    """Hold the pooled rate of each promise against what chance allows."""
    for rate in RATES:
        some = [trial for trial in trials if trial.rate == rate]
        if not some:
            continue
        low, high = (100 * bound for bound in allowed(some))
        by_round = [100 * pooled([trial for trial in some if trial.split % rounds == one]) for one in range(rounds)]
        note = f"{promised(some):.3%} promised; {len(some)} detectors, {sum(trial.fresh for trial in some):,} fresh rows"
        pooled_line = line(f"{name}, {rate:.0%}: flagged, %", by_round, at_least=low, at_most=high, note=note)
        report.add(pooled_line.at(100 * pooled(some)))


def by_set(report: Report, trials: list[Trial]) -> None:
    """Show the sets one by one; with so many, some are outside their own 95 %."""
    rows = []
    for name in dict.fromkeys(trial.name for trial in trials):
        for rate in RATES:
            some = [trial for trial in trials if (trial.name, trial.rate) == (name, rate)]
            if some:
                low, high = allowed(some)
                found = pooled(some)
                inside = "" if low <= found <= high else "below" if found < low else "ABOVE"
                cells = (f"{rate:.0%}", f"{promised(some):.3%}", f"{found:.3%}", f"{low:.3%} to {high:.3%}", inside)
                rows.append([name, *cells, str(some[0].calibration), f"{np.mean([one.ties for one in some]):.0%}"])
    heads = ("set", "rate", "promised", "flagged", "central 95 %", "", "calibration rows", "ties")
    report.show("pooled over the splits of each set", heads, rows)


def pooled(trials: list[Trial]) -> float:
    """Give the share of all fresh rows that was flagged."""
    return sum(trial.alarms for trial in trials) / sum(trial.fresh for trial in trials)


def promised(trials: list[Trial]) -> float:
    """Give the share that is to be expected."""
    return sum(trial.promised * trial.fresh for trial in trials) / sum(trial.fresh for trial in trials)


def allowed(trials: list[Trial]) -> tuple[float, float]:
    """Draw the central 95 % of the pooled share: for each detector its true rate, then its alarms."""
    random = np.random.default_rng(0)
    alarms = np.zeros(DRAWS)
    for trial in trials:
        rate = random.beta(trial.allowed, trial.calibration + 1 - trial.allowed, DRAWS)
        alarms += random.binomial(trial.fresh, rate)
    low, high = np.quantile(alarms / sum(trial.fresh for trial in trials), CENTRAL)
    return float(low), float(high)


if __name__ == "__main__":
    main()
