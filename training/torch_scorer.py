"""A detector that scores with torch itself: what `residuum.AutoencoderDetector` is until it is saved.

The verdicts are those of the exported graph up to the tolerance that its proof allows (`training.export`).
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch

from detector.bundle import Bundle
from detector.graph import INPUT, OUTPUTS, Graph
from detector.scorer import Scorer
from training.graph import DetectorGraph
from training.train import TrainedDetector


def scorer(made: TrainedDetector) -> Scorer:
    """Open a detector that is not exported for scoring, in float64: a row's score must not depend on its neighbours."""
    unwritten = Bundle(Path("a detector that is not saved"), made.manifest, b"", made.calibration, {})
    return Scorer(unwritten, "cpu", EagerGraph(copy.deepcopy(made.graph).in_float64()))


class EagerGraph(Graph):
    """A graph that torch runs."""

    def __init__(self, graph: DetectorGraph) -> None:
        """Take the trained module."""
        self._session = _Eager(graph)
        self.provider = "torch"
        self._input, self.axes = INPUT, (len(graph.features.layout.columns),)


class _Eager:
    """A torch module in the place of ONNX Runtime's session."""

    def __init__(self, graph: DetectorGraph) -> None:
        self._graph = graph

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run the module on `float64[rows, columns]` and give some of its outputs."""
        with torch.no_grad():
            every = dict(zip(OUTPUTS, self._graph(torch.from_numpy(inputs[INPUT])), strict=True))
        return [every[name].numpy() for name in outputs]
