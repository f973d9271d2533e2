"""Claim: every variant of the family trains, exports and finds anomalies; one table beside PCA, kNN and PyOD's two.

Four sets of ADBench (half of the normal rows train) and MNIST as rows of pixels in [0, 1]: each digit is normal in turn,
1,000 of its images train, the test images are told apart. Lines give the AUROC; notes the seconds of the processor to train
and, for the variants, the rows a second of the exported graph in ONNX Runtime on one thread. Table columns and settings are as
they come for ADBench; for MNIST all variants learn probabilities (`likelihood=bernoulli`) with `MNIST`'s sizes.

Further lines: torch's processor time over ONNX Runtime's, both on one thread, at batches of 1, 64 and 1024 rows: at least 1.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks import _data, _trained, _variant
from benchmarks._options import Options, Size, parse, unless_tiny
from benchmarks._report import Report, line
from benchmarks._variant import Found, Task
from training.fit import STEPS as USUAL_STEPS
from training.variants import VARIANTS

FULL, QUICK = Size(10_000, 10), Size(2000, 2)  # rows to tell apart at most; digits
SETS = unless_tiny(("6_cardio", "19_landsat", "28_pendigits", "38_thyroid"), ("6_cardio",))
STEPS = unless_tiny(USUAL_STEPS, 30)
FAMILY = unless_tiny(tuple(name for name, variant in VARIANTS.items() if not variant.takes_instead), ("denoising", "variational"))
IMAGES = unless_tiny(1000, 120)
BEST_PCA, AIM = 0.953, 0.970
BEST = "denoising"

AS_PIXELS = {"likelihood": "bernoulli", "sizes": "256", "latent": "16"}
MNIST: Mapping[str, Mapping[str, str]] = {
    "denoising": {**AS_PIXELS, "corruption": "gaussian", "level": "0.9"},
    "stacked": {**AS_PIXELS, "sizes": "300-150", "latent": "32"},
    "sparse": {**AS_PIXELS, "latent": "256"},
    "contractive": {"likelihood": "bernoulli", "latent": "64"},
}


def main() -> None:
    """Measure."""
    options = parse(__doc__, FULL, QUICK, rounds="digits of MNIST")
    report = Report("variants", quick=options.quick)
    if not _data.SHARED.is_dir():
        report.leave_out(f"everything: {_data.ABSENT}")
        report.close(options.json)
        return
    with _trained.steps(STEPS):
        for name in SETS:
            on_a_table(report, tables(name, options.rows))
        on_digits(report, options)
    report.close(options.json)


def on_a_table(report: Report, task: Task) -> None:
    """Run the whole family, its peers, and the exported graphs on one set."""
    for variant in FAMILY:
        found, detector = _variant.ours(task, variant, {}, seed=0)
        speed = _variant.speed(detector)
        report.add(
            line(f"{task.name}: {variant}", [found.auroc], note=f"{found.seconds:.1f} s, {speed.rows_per_second:,.0f} rows/s")
        )
        for size, ratios in speed.ratios.items():
            report.add(line(f"{task.name}: {variant}, torch / ours at {size} rows", ratios, at_least=1.0, note=speed.precision))
    for name, peer in peers(report).items():
        found = peer(task, 0)
        report.add(line(f"{task.name}: {name}", [found.auroc], note=f"{found.seconds:.1f} s"))


def on_digits(report: Report, options: Options) -> None:
    """Run the whole family and its peers on each digit in turn."""
    tasks = [digit(each, options.rows) for each in range(options.rounds)]
    whole = options.rounds == FULL.rounds
    for name, peer in peers(report).items():
        tell(report, name, [peer(task, 0) for task in tasks])
    for variant in sorted(FAMILY, key=BEST.__ne__):
        found = [_variant.ours(task, variant, MNIST.get(variant, AS_PIXELS), seed=0)[0] for task in tasks]
        tell(report, variant, found, AIM if whole and variant == BEST else None)


def tell(report: Report, name: str, found: Sequence[Found], at_least: float | None = None) -> None:
    """Add the mean over digits."""
    aurocs = [one.auroc for one in found]
    note = f"mean of {len(found)} digits, spread over them; {np.mean([one.seconds for one in found]):.1f} s a digit"
    report.add(line(f"MNIST: {name}", aurocs, at_least=at_least, note=note).at(float(np.mean(aurocs))))


def peers(report: Report) -> dict[str, Callable[[Task, int], Found]]:
    """Give the peers that are here."""
    absent = [name for name in ("pyod", "tqdm") if importlib.util.find_spec(name) is None]
    if absent:
        report.leave_out(f"PyOD: pip install {' '.join(absent)}")
    return _variant.PEERS | ({} if absent else _variant.PYOD)


def tables(name: str, most: int) -> Task:
    """Give a set of ADBench, half of its normal rows to learn from."""
    labelled, random = _data.adbench(name), np.random.default_rng(9)
    normal = random.permutation(labelled.normal)
    half = len(normal) // 2
    rows = np.vstack([normal[half:], labelled.anomalies])
    is_anomaly = np.arange(len(rows)) >= len(normal) - half
    chosen = random.permutation(len(rows))[:most]
    return Task(name, normal[:half], rows[chosen], is_anomaly[chosen], scale=True)


def digit(which: int, most: int) -> Task:
    """Give MNIST with one digit as the normal one."""
    digits = _data.mnist()
    normal = digits.images[digits.labels == which][:IMAGES]
    return Task(f"digit {which}", normal, digits.test_images[:most], digits.test_labels[:most] != which, scale=False)


if __name__ == "__main__":
    main()
