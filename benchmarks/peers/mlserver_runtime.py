"""The graph behind MLServer, in its main process: an MLModel that takes one tensor, in its own environment."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from benchmarks.peers.graph import Graph


class Runtime(MLModel):  # type: ignore[misc]  # not installed where types are checked
    """MLServer runtime that scores one tensor."""

    async def load(self) -> bool:
        """Open the graph."""
        self.graph = Graph(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return the verdicts as one JSON output."""
        tensor = payload.inputs[0]
        verdicts = self.graph.score_matrix(np.array(tensor.data.root, dtype=np.float64).reshape(tensor.shape))
        output = ResponseOutput(name="verdicts", shape=[1], datatype="BYTES", data=[json.dumps(verdicts)])
        return InferenceResponse(model_name=self.name, outputs=[output])
