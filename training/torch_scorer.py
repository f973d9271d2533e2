"""Score with torch instead of ONNX Runtime: what `residuum.AutoencoderDetector` does until it is saved.

The verdicts equal those of the exported graph, up to the tolerance of its proof (`training.export`).
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch

from detector.bundle import HISTORY, Bundle
from detector.graph import INPUT, OUTPUTS, Graph, batch_rows
from detector.scorer import Scorer
from training.fit import history_csv
from training.graph import DetectorGraph
from training.train import TrainedDetector


def torch_scorer(trained: TrainedDetector) -> Scorer:
    """Return a scorer of a detector that is not exported; in float64, so that a row's score is independent of its batch."""
    assert isinstance(trained.graph, DetectorGraph)  # noqa: S101 - windows are not scored by torch
    result = trained.fitted.fit
    history = {HISTORY: history_csv(result)} if result.history else {}
    in_memory = Bundle(Path("a detector that is not saved"), trained.manifest, b"", trained.calibration, history)
    return Scorer(in_memory, "cpu", TorchGraph(copy.deepcopy(trained.graph).in_float64()))


class TorchGraph(Graph):
    """A graph that torch runs."""

    def __init__(self, graph: DetectorGraph) -> None:
        """Run the trained module."""
        self._session = _TorchSession(graph)
        self.provider = "torch"
        self._input, self.axes = INPUT, (len(graph.features.layout.columns),)
        self._batch = batch_rows(self._input, self.axes)


class _TorchSession:
    """A torch module with the interface of ONNX Runtime's session."""

    def __init__(self, graph: DetectorGraph) -> None:
        self._graph = graph

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run the module on `float64[rows, columns]` and return the outputs named."""
        with torch.no_grad():
            by_name = dict(zip(OUTPUTS, self._graph(torch.from_numpy(inputs[INPUT])), strict=True))
        return [by_name[name].numpy() for name in outputs]
