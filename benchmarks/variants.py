"""Claim: every variant trains, exports and finds anomalies; one table with PCA, kNN and PyOD's two autoencoders.

Four data sets of ADBench (half of the normal rows train) and MNIST as rows of pixels in [0, 1]: each digit is normal in turn,
1,000 of its images train, the test images are scored. Lines give the AUROC; notes the CPU seconds to train and, for the
variants, the rows per second of the exported graph in ONNX Runtime on one thread. ADBench uses the default settings; on MNIST
all variants learn probabilities (`likelihood=bernoulli`) with the sizes in `MNIST`.

Further lines: torch's CPU time over ONNX Runtime's, both on one thread, at batches of 1, 64 and 1024 rows: at least 1.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.harness import datasets, detectors, family
from benchmarks.harness.family import Outcome, Task
from benchmarks.harness.options import Options, Size, parse, unless_tiny
from benchmarks.harness.report import Report, line
from training.fit import STEPS as USUAL_STEPS
from training.variants import VARIANTS

FULL, QUICK = Size(10_000, 10), Size(2000, 2)  # rows to score at most; digits
SETS = unless_tiny(("6_cardio", "19_landsat", "28_pendigits", "38_thyroid"), ("6_cardio",))
STEPS = unless_tiny(USUAL_STEPS, 30)
NAMES = unless_tiny(tuple(name for name, variant in VARIANTS.items() if not variant.takes_instead), ("denoising", "variational"))
IMAGES = unless_tiny(1000, 120)
TARGET = 0.970  # AUROC; PCA reaches 0.953
WITH_TARGET = "denoising"

AS_PIXELS = {"likelihood": "bernoulli", "sizes": "256", "latent": "16"}
MNIST: Mapping[str, Mapping[str, str]] = {
    "denoising": {**AS_PIXELS, "corruption": "gaussian", "level": "0.9"},
    "stacked": {**AS_PIXELS, "sizes": "300-150", "latent": "32"},
    "sparse": {**AS_PIXELS, "latent": "256"},
    "contractive": {"likelihood": "bernoulli", "latent": "64"},
}


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__, FULL, QUICK, rounds="digits of MNIST")
    report = Report("variants", quick=options.quick)
    if not datasets.SHARED.is_dir():
        report.leave_out(f"everything: {datasets.ABSENT}")
        report.close(options.json)
        return
    with detectors.steps(STEPS):
        for name in SETS:
            compare_on_table(report, tables(name, options.rows))
        compare_on_digits(report, options)
    report.close(options.json)


def compare_on_table(report: Report, task: Task) -> None:
    """Run all variants, peers and exported graphs on one data set."""
    for variant in NAMES:
        found, detector = family.ours(task, variant, {}, seed=0)
        speed = family.speed(detector)
        report.add(
            line(f"{task.name}: {variant}", [found.auroc], note=f"{found.seconds:.1f} s, {speed.rows_per_second:,.0f} rows/s")
        )
        for size, ratios in speed.ratios.items():
            report.add(line(f"{task.name}: {variant}, torch / ours at {size} rows", ratios, at_least=1.0, note=speed.precision))
    for name, peer in peers(report).items():
        found = peer(task, 0)
        report.add(line(f"{task.name}: {name}", [found.auroc], note=f"{found.seconds:.1f} s"))


def compare_on_digits(report: Report, options: Options) -> None:
    """Run all variants and peers with each digit as the normal one."""
    tasks = [digit(number, options.rows) for number in range(options.rounds)]
    is_full = options.rounds == FULL.rounds
    for name, peer in peers(report).items():
        add_mean(report, name, [peer(task, 0) for task in tasks])
    for variant in sorted(NAMES, key=WITH_TARGET.__ne__):
        found = [family.ours(task, variant, MNIST.get(variant, AS_PIXELS), seed=0)[0] for task in tasks]
        add_mean(report, variant, found, TARGET if is_full and variant == WITH_TARGET else None)


def add_mean(report: Report, name: str, outcomes: Sequence[Outcome], at_least: float | None = None) -> None:
    """Add the mean AUROC over digits."""
    aurocs = [outcome.auroc for outcome in outcomes]
    note = (
        f"mean of {len(outcomes)} digits, spread over them; {np.mean([outcome.seconds for outcome in outcomes]):.1f} s per digit"
    )
    report.add(line(f"MNIST: {name}", aurocs, at_least=at_least, note=note).with_value(float(np.mean(aurocs))))


def peers(report: Report) -> dict[str, Callable[[Task, int], Outcome]]:
    """Return the peers that are installed."""
    absent = [name for name in ("pyod", "tqdm") if importlib.util.find_spec(name) is None]
    if absent:
        report.leave_out(f"PyOD: pip install {' '.join(absent)}")
    return family.PEERS | ({} if absent else family.PYOD)


def tables(name: str, max_rows: int) -> Task:
    """Return a data set of ADBench; half of its normal rows train."""
    labelled, random = datasets.adbench(name), np.random.default_rng(9)
    normal = random.permutation(labelled.normal)
    half = len(normal) // 2
    rows = np.vstack([normal[half:], labelled.anomalies])
    is_anomaly = np.arange(len(rows)) >= len(normal) - half
    chosen = random.permutation(len(rows))[:max_rows]
    return Task(name, normal[:half], rows[chosen], is_anomaly[chosen], scale=True)


def digit(number: int, max_rows: int) -> Task:
    """Return MNIST with one digit as the normal class."""
    digits = datasets.mnist()
    normal = digits.images[digits.labels == number][:IMAGES]
    return Task(f"digit {number}", normal, digits.test_images[:max_rows], digits.test_labels[:max_rows] != number, scale=False)


if __name__ == "__main__":
    main()
