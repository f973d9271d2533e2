"""The graph behind MLServer, in its main process: an MLModel that takes one tensor, in its own environment."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from benchmarks._peer_graph import Graph


class Runtime(MLModel):  # type: ignore[misc]  # not installed where types are checked
    """A matrix in, verdicts out."""

    async def load(self) -> bool:
        """Open the graph."""
        self.graph = Graph(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Judge."""
        tensor = payload.inputs[0]
        said = self.graph.of_matrix(np.array(tensor.data.root, dtype=np.float64).reshape(tensor.shape))
        output = ResponseOutput(name="verdicts", shape=[1], datatype="BYTES", data=[json.dumps(said)])
        return InferenceResponse(model_name=self.name, outputs=[output])
