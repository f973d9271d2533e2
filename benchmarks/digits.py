"""The seeds of the idea, once, on MNIST (Hinton & Salakhutdinov 2006): rebuild digits, lay them out on a plane, name them.

784-300-150-300-784 rebuilds digits; beside it, principal components of the same width, by the mean squared error of test
pixels. 784-128-64-10-2 lays digits out on a plane; the line is how often the five nearest neighbours on it name a digit.
With 100 labels: accuracy of logistic regression on raw pixels, on the frozen code and contributions, and of joint
fine-tuning (`residuum finetune`), as a ratio to raw pixels.

With `RESIDUUM_PICTURES=FOLDER` in the environment it draws digits above their reconstructions, and the plane coloured by digit.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from benchmarks import _data, _trained
from benchmarks._data import Digits
from benchmarks._options import Size, parse, unless_tiny
from benchmarks._report import Report, line
from detector import bundle
from detector.bundle import Bundle
from detector.graph import Graph
from training.finetune import frozen, joint
from training.fit import STEPS as USUAL_STEPS
from training.recipe import Recipe, Table
from training.train import export_detector, fit_detector

FULL, QUICK = Size(10_000, 5), Size(2000, 1)  # training images at most; draws of the labelled ones
STEPS = unless_tiny(USUAL_STEPS, 30)
LABELLED = 100
SHOWN = 12
WIDTH = 28
DEEP = {"likelihood": "bernoulli", "sizes": "300", "latent": "150"}
PLANE = {"likelihood": "bernoulli", "sizes": "128-64-10", "latent": "2"}
PICTURES = "RESIDUUM_PICTURES"


def main() -> None:
    """Measure."""
    options = parse(__doc__, FULL, QUICK, rounds="draws of the labelled images")
    report = Report("digits", quick=options.quick)
    if not _data.SHARED.is_dir():
        report.leave_out(f"everything: {_data.ABSENT}")
        report.close(options.json)
        return
    digits = Digits(*(part[: options.rows] for part in _data.mnist()))
    pictures = Path(os.environ[PICTURES]) if PICTURES in os.environ else None
    with _trained.steps(STEPS):
        deep, plane = trained(digits, DEEP), trained(digits, PLANE)
    rebuilt(report, digits, deep, pictures)
    on_a_plane(report, digits, plane, pictures)
    named(report, digits, deep, options.rounds)
    report.close(options.json)


def trained(digits: Digits, settings: dict[str, str]) -> Bundle:
    """Train on all digits."""
    frame = _trained.frame(digits.images)
    recipe = Recipe(variant="stacked", settings=settings, device="cpu")
    product = export_detector(fit_detector(Table(frame, np.arange(frame.height), []), recipe), "cpu")
    return bundle.assemble(Path("digits"), product.manifest, product.contents)


def rebuilt(report: Report, digits: Digits, deep: Bundle, pictures: Path | None) -> None:
    """Compare reconstructions with those of as many principal components."""
    expected = Graph(deep.model, "cpu").explain(digits.test_images).expected
    components = PCA(min(int(DEEP["latent"]), len(digits.images))).fit(digits.images)
    linear = components.inverse_transform(components.transform(digits.test_images))
    ours, other = (float(((one - digits.test_images) ** 2).mean()) for one in (expected, linear))
    note = f"ours {ours:.5f}, principal components {other:.5f}"
    report.add(line("784-300-150-300-784: squared error, ours / PCA of 150", [ours / other], note=note))
    if pictures:
        draw_rows(pictures / "rebuilt.png", [digits.test_images[:SHOWN], expected[:SHOWN]])


def on_a_plane(report: Report, digits: Digits, plane: Bundle, pictures: Path | None) -> None:
    """Say how well neighbours on the plane name a digit."""
    graph = Graph(plane.model, "cpu")
    codes, test_codes = graph.latent(digits.images), graph.latent(digits.test_images)
    accuracy = KNeighborsClassifier(5).fit(codes, digits.labels).score(test_codes, digits.test_labels)
    report.add(line("784-128-64-10-2: five neighbours on the plane name the digit", [float(accuracy)]))
    if pictures:
        draw_plane(pictures / "plane.png", test_codes, digits.test_labels)


def named(report: Report, digits: Digits, deep: Bundle, rounds: int) -> None:
    """Compare ways to name digits after 100 of them."""
    ways: dict[str, list[float]] = {"raw pixels": [], "frozen code": [], "joint fine-tuning": []}
    for seed in range(rounds):
        few = a_few(digits.labels, seed)
        images, labels = digits.images[few], digits.labels[few]
        raw = LogisticRegression(max_iter=1000).fit(images, labels)
        ways["raw pixels"].append(float(raw.score(digits.test_images, digits.test_labels)))
        for name, way in (("frozen code", frozen.fit), ("joint fine-tuning", joint.fit)):
            guessed = way(deep, images, labels, seed).probabilities(digits.test_images).argmax(axis=1)
            ways[name].append(float((guessed == digits.test_labels).mean()))
    for name, found in ways.items():
        report.add(line(f"accuracy after {LABELLED} labels: {name}", found))


def a_few(labels: np.ndarray, seed: int) -> np.ndarray:
    """Draw as many images of each digit."""
    random = np.random.default_rng(seed)
    return np.concatenate([random.permutation(np.flatnonzero(labels == digit))[: LABELLED // 10] for digit in range(10)])


def draw_rows(path: Path, rows: list[np.ndarray]) -> None:
    """Draw rows of images above each other."""
    from matplotlib import image

    page = np.vstack([np.hstack([one.reshape(WIDTH, WIDTH) for one in row]) for row in rows])
    image.imsave(path, np.kron(1 - page, np.ones((3, 3))), cmap="gray")


def draw_plane(path: Path, codes: np.ndarray, labels: np.ndarray) -> None:
    """Draw codes on the plane, coloured by digit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.subplots()
    for digit in range(10):
        shown = codes[labels == digit]
        axes.scatter(shown[:, 0], shown[:, 1], s=4, label=str(digit), color=f"C{digit}")
    axes.legend(markerscale=4, title="digit")
    axes.set(xlabel="first code", ylabel="second code", title="784-128-64-10-2: test digits on the plane")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
