"""The classifier of a bundle: which known class a row belongs to, learnt from a few labels.

    row float64[rows, columns]  ->  probability float64[rows, classes]

It changes no score and no verdict. `training.finetune` makes it; the manifest lists the classes in the graph's order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from detector import bundle
from detector.bundle import Bundle
from detector.errors import BundleCorrupt
from detector.graph import INPUT, Device, nodes_on_cpu, open_session, run_batches, tensor_widths

OUTPUT = "probability"


class ClassPredictions(NamedTuple):
    """The most likely class of each row."""

    name: np.ndarray  # str[rows]
    probability: np.ndarray  # float64[rows]

    def series(self) -> list[pl.Series]:
        """Return the columns `class` and `class_probability`."""
        return [pl.Series("class", self.name, dtype=pl.String), pl.Series("class_probability", self.probability)]


class ClassifierSession:
    """An opened classifier graph. Safe to use from several threads."""

    def __init__(self, model: bytes, device: Device = "auto") -> None:
        """Open the graph.

        Raises:
            SettingError: the requested device is not available.
            BundleCorrupt: the bytes are not a classifier.
        """
        self._session = open_session(model, device, bundle.CLASSIFIER)
        self.provider: str = self._session.get_providers()[0]
        self.columns, self.classes = tensor_widths(
            self._session, bundle.CLASSIFIER, "classifier", {INPUT: "[rows, columns]"}, {OUTPUT: "[rows, classes]"}
        )

    @property
    def nodes_on_cpu(self) -> int:
        """The number of nodes that a GPU provider left to the CPU; 0 if the CPU was chosen."""
        return nodes_on_cpu(self._session)

    def probabilities(self, matrix: np.ndarray) -> np.ndarray:
        """Return the probability of each class, `float64[rows, classes]`, for `float64[rows, columns]`."""
        return run_batches(self._session, [OUTPUT], {INPUT: matrix})[0]


class Classifier:
    """A bundle's classifier with the names of its classes."""

    def __init__(self, opened: Bundle, device: Device = "auto") -> None:
        """Open the classifier of a verified bundle that has one.

        Raises:
            SettingError: the device is not available.
            BundleCorrupt: the file is not a classifier, or does not match the manifest.
        """
        self.graph = ClassifierSession(opened.extra_files[bundle.CLASSIFIER], device)
        self.names = np.array(opened.manifest.classes, dtype=object)
        columns, classes = len(opened.manifest.columns), len(self.names)
        if (self.graph.columns, self.graph.classes) != (columns, classes):
            raise BundleCorrupt(
                f"{opened.folder / bundle.CLASSIFIER} takes {self.graph.columns} columns and returns {self.graph.classes} "
                f"classes, the manifest lists {columns} and {classes}"
            )

    def classify(self, matrix: np.ndarray) -> ClassPredictions:
        """Return the most likely class of each row of `float64[rows, columns]`."""
        probabilities = self.graph.probabilities(matrix)
        best = probabilities.argmax(axis=1)
        return ClassPredictions(self.names[best], np.take_along_axis(probabilities, best[:, None], axis=1)[:, 0])
