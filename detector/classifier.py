"""Which of the known classes a row belongs to: `classifier.onnx`, learnt from few labels, beside the score.

    row float64[rows, columns]  ->  probability float64[rows, classes]

It changes no score and no verdict. `training.finetune` makes it; the manifest names the classes in the graph's order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from detector import bundle
from detector.bundle import Bundle
from detector.errors import BundleCorrupt
from detector.graph import INPUT, Device, describe_tensors, nodes_on_cpu, open_session, run_batches

OUTPUT = "probability"


class ClassPredictions(NamedTuple):
    """The likeliest class of each row."""

    name: np.ndarray  # str[rows]
    probability: np.ndarray  # float64[rows]

    def series(self) -> list[pl.Series]:
        """Give the columns `class` and `class_probability`."""
        return [pl.Series("class", self.name, dtype=pl.String), pl.Series("class_probability", self.probability)]


class ClassifierSession:
    """An opened classifier. Safe to use from several threads."""

    def __init__(self, model: bytes, device: Device = "auto") -> None:
        """Open the graph.

        Raises:
            SettingError: the device was asked for and is not there.
            BundleCorrupt: the bytes are no classifier.
        """
        self._session = open_session(model, device, bundle.CLASSIFIER)
        self.provider: str = self._session.get_providers()[0]
        self.columns, self.classes = _widths(self._session)

    @property
    def nodes_on_cpu(self) -> int:
        """How many nodes a GPU's provider left to the CPU; 0 where the CPU was chosen."""
        return nodes_on_cpu(self._session)

    def probabilities(self, matrix: np.ndarray) -> np.ndarray:
        """Give the probability of each class, `float64[rows, classes]`, for `float64[rows, columns]`."""
        return run_batches(self._session, [OUTPUT], {INPUT: matrix})[0]


class Classifier:
    """A bundle's classifier with the names of its classes."""

    def __init__(self, opened: Bundle, device: Device = "auto") -> None:
        """Open the classifier of a verified bundle that has one.

        Raises:
            SettingError: the device is not there.
            BundleCorrupt: it is no classifier, or not the one the manifest speaks of.
        """
        self.graph = ClassifierSession(opened.extra_files[bundle.CLASSIFIER], device)
        self.names = np.array(opened.manifest.classes, dtype=object)
        found, said = (self.graph.columns, self.graph.classes), (len(opened.manifest.columns), len(self.names))
        if found != said:
            raise BundleCorrupt(
                f"{opened.folder / bundle.CLASSIFIER} takes {found[0]} columns and gives {found[1]} classes, the manifest "
                f"lists {said[0]} and {said[1]}"
            )

    def classify(self, matrix: np.ndarray) -> ClassPredictions:
        """Give the likeliest class of each row of `float64[rows, columns]`."""
        probabilities = self.graph.probabilities(matrix)
        likeliest = probabilities.argmax(axis=1)
        return ClassPredictions(self.names[likeliest], np.take_along_axis(probabilities, likeliest[:, None], axis=1)[:, 0])


def _widths(session: Any) -> tuple[int, int]:  # noqa: ANN401 - ONNX Runtime has no types
    """Check input and output of the graph and give the numbers of columns and classes."""
    there = [*session.get_inputs(), *session.get_outputs()]
    shapes = [(one.name, one.type, len(one.shape)) for one in there]
    widths = [one.shape[-1] for one in there if one.shape]
    fits = shapes == [(name, "tensor(double)", 2) for name in (INPUT, OUTPUT)]
    if not fits or not all(isinstance(width, int) for width in widths):
        raise BundleCorrupt(
            f"{bundle.CLASSIFIER} is no classifier: it takes {describe_tensors(session.get_inputs())} and gives "
            f"{describe_tensors(session.get_outputs())}; a classifier takes {INPUT}[rows, columns] and gives "
            f"{OUTPUT}[rows, classes]"
        )
    return widths[0], widths[1]
