"""The roots of the method, reproduced on MNIST (Hinton & Salakhutdinov 2006): reconstruct, embed and classify digits.

784-300-150-300-784 reconstructs digits; compared with principal components of the same width by the mean squared error of test
pixels. 784-128-64-10-2 embeds digits in two dimensions; the line is the accuracy of the five nearest neighbours there. With
100 labels: accuracy of logistic regression on raw pixels, on the frozen code and contributions, and of joint fine-tuning
(`residuum finetune`).

With `RESIDUUM_PICTURES=FOLDER` in the environment it draws digits above their reconstructions, and the embedding by digit.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from benchmarks.harness import datasets, detectors
from benchmarks.harness.datasets import Digits
from benchmarks.harness.options import Size, parse, unless_tiny
from benchmarks.harness.report import Report, line
from detector import bundle
from detector.bundle import Bundle
from detector.graph import Graph
from training.finetune import frozen, joint
from training.fit import STEPS as USUAL_STEPS
from training.recipe import Recipe, Table
from training.train import export_detector, fit_detector

FULL, QUICK = Size(10_000, 5), Size(2000, 1)  # training images at most; draws of labelled images
STEPS = unless_tiny(USUAL_STEPS, 30)
LABELLED = 100
SHOWN = 12
WIDTH = 28
DEEP = {"likelihood": "bernoulli", "sizes": "300", "latent": "150"}
EMBEDDING = {"likelihood": "bernoulli", "sizes": "128-64-10", "latent": "2"}
PICTURES = "RESIDUUM_PICTURES"


def main() -> None:
    """Run the benchmark."""
    options = parse(__doc__, FULL, QUICK, rounds="draws of the labelled images")
    report = Report("digits", quick=options.quick)
    if not datasets.SHARED.is_dir():
        report.leave_out(f"everything: {datasets.ABSENT}")
        report.close(options.json)
        return
    digits = Digits(*(part[: options.rows] for part in datasets.mnist()))
    pictures = Path(os.environ[PICTURES]) if PICTURES in os.environ else None
    with detectors.steps(STEPS):
        deep, embedding = train(digits, DEEP), train(digits, EMBEDDING)
    compare_reconstructions(report, digits, deep, pictures)
    compare_embedding(report, digits, embedding, pictures)
    compare_classifiers(report, digits, deep, options.rounds)
    report.close(options.json)


def train(digits: Digits, settings: dict[str, str]) -> Bundle:
    """Train a detector on all digits."""
    frame = detectors.frame(digits.images)
    recipe = Recipe(variant="stacked", settings=settings, device="cpu")
    product = export_detector(fit_detector(Table(frame, np.arange(frame.height), []), recipe), "cpu")
    return bundle.assemble(Path("digits"), product.manifest, product.contents)


def compare_reconstructions(report: Report, digits: Digits, deep: Bundle, pictures: Path | None) -> None:
    """Compare reconstructions with those of principal components."""
    expected = Graph(deep.model, "cpu").explain(digits.test_images).expected
    components = PCA(min(int(DEEP["latent"]), len(digits.images))).fit(digits.images)
    linear = components.inverse_transform(components.transform(digits.test_images))
    ours, other = (float(((images - digits.test_images) ** 2).mean()) for images in (expected, linear))
    note = f"ours {ours:.5f}, principal components {other:.5f}"
    report.add(line("784-300-150-300-784: squared error, ours / PCA of 150", [ours / other], note=note))
    if pictures:
        draw_rows(pictures / "reconstructions.png", [digits.test_images[:SHOWN], expected[:SHOWN]])


def compare_embedding(report: Report, digits: Digits, embedding: Bundle, pictures: Path | None) -> None:
    """Add the accuracy of nearest neighbours in the embedding."""
    graph = Graph(embedding.model, "cpu")
    codes, test_codes = graph.latent(digits.images), graph.latent(digits.test_images)
    accuracy = KNeighborsClassifier(5).fit(codes, digits.labels).score(test_codes, digits.test_labels)
    report.add(line("784-128-64-10-2: accuracy of five neighbours in two dimensions", [float(accuracy)]))
    if pictures:
        draw_embedding(pictures / "embedding.png", test_codes, digits.test_labels)


def compare_classifiers(report: Report, digits: Digits, deep: Bundle, rounds: int) -> None:
    """Compare classifiers trained on 100 labels."""
    accuracies: dict[str, list[float]] = {"raw pixels": [], "frozen code": [], "joint fine-tuning": []}
    for seed in range(rounds):
        chosen = draw_labelled(digits.labels, seed)
        images, labels = digits.images[chosen], digits.labels[chosen]
        raw = LogisticRegression(max_iter=1000).fit(images, labels)
        accuracies["raw pixels"].append(float(raw.score(digits.test_images, digits.test_labels)))
        for name, fit in (("frozen code", frozen.fit), ("joint fine-tuning", joint.fit)):
            predicted = fit(deep, images, labels, seed).probabilities(digits.test_images).argmax(axis=1)
            accuracies[name].append(float((predicted == digits.test_labels).mean()))
    for name, values in accuracies.items():
        report.add(line(f"accuracy with {LABELLED} labels: {name}", values))


def draw_labelled(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return the indices of `LABELLED` images, as many of each digit."""
    random = np.random.default_rng(seed)
    return np.concatenate([random.permutation(np.flatnonzero(labels == digit))[: LABELLED // 10] for digit in range(10)])


def draw_rows(path: Path, rows: list[np.ndarray]) -> None:
    """Draw rows of images below each other."""
    from matplotlib import image

    page = np.vstack([np.hstack([digit.reshape(WIDTH, WIDTH) for digit in row]) for row in rows])
    image.imsave(path, np.kron(1 - page, np.ones((3, 3))), cmap="gray")


def draw_embedding(path: Path, codes: np.ndarray, labels: np.ndarray) -> None:
    """Draw two-dimensional codes, coloured by digit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.subplots()
    for digit in range(10):
        shown = codes[labels == digit]
        axes.scatter(shown[:, 0], shown[:, 1], s=4, label=str(digit), color=f"C{digit}")
    axes.legend(markerscale=4, title="digit")
    axes.set(xlabel="first code", ylabel="second code", title="784-128-64-10-2: test digits in two dimensions")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
