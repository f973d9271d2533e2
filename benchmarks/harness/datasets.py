"""Public data sets beside the checkout (../shared/data); benchmarks that need them are left out where they are absent."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.harness.processes import ROOT

SHARED = ROOT.parent / "shared" / "data"
ABSENT = "the public data sets are not beside this checkout (../shared/data)"


class Labelled(NamedTuple):
    """A data set of ADBench: normal rows and anomalies, `float64[rows, columns]` each."""

    name: str
    normal: np.ndarray
    anomalies: np.ndarray


def names() -> list[str]:
    """Return the names of the ADBench data sets found, small to large."""
    files = sorted((SHARED / "adbench").glob("*.npz"), key=lambda path: path.stat().st_size)
    return [path.stem for path in files]


def adbench(name: str) -> Labelled:
    """Read a data set of ADBench."""
    with np.load(SHARED / "adbench" / f"{name}.npz") as arrays:
        matrix, label = arrays["X"].astype(np.float64), arrays["y"]
    return Labelled(name, matrix[label == 0], matrix[label != 0])


class Digits(NamedTuple):
    """MNIST in random order: images as rows of pixels in [0, 1], and their digits."""

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def mnist() -> Digits:
    """Read MNIST: 10,000 training images and the official test images."""
    random = np.random.default_rng(9)
    with np.load(SHARED / "mnist" / "mnist_10k_train_10k_test.npz") as arrays:
        order, test_order = (random.permutation(len(arrays[f"y_{part}"])) for part in ("train", "test"))
        return Digits(
            arrays["x_train"][order] / 255.0,
            arrays["y_train"][order].astype(np.int64),
            arrays["x_test"][test_order] / 255.0,
            arrays["y_test"][test_order].astype(np.int64),
        )


def nsl_kdd(file: str) -> Path:
    """Return the path of a file of NSL-KDD."""
    return SHARED / "nsl_kdd" / file
