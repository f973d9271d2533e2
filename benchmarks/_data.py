"""Public data sets that lie beside this checkout on some machines; what needs them says so where they are not."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks._child import ROOT

SHARED = ROOT.parent / "shared" / "data"
ABSENT = "the public data sets are not beside this checkout (../shared/data)"


class Labelled(NamedTuple):
    """A set of ADBench: its normal rows and its anomalies, `float64[rows, columns]` each."""

    name: str
    normal: np.ndarray
    anomalies: np.ndarray


def names() -> list[str]:
    """Give the names of ADBench's sets that are here, small to large."""
    files = sorted((SHARED / "adbench").glob("*.npz"), key=lambda path: path.stat().st_size)
    return [path.stem for path in files]


def adbench(name: str) -> Labelled:
    """Read one of ADBench's sets."""
    with np.load(SHARED / "adbench" / f"{name}.npz") as arrays:
        matrix, label = arrays["X"].astype(np.float64), arrays["y"]
    return Labelled(name, matrix[label == 0], matrix[label != 0])


def nsl_kdd(file: str) -> Path:
    """Give the path of a file of NSL-KDD."""
    return SHARED / "nsl_kdd" / file
