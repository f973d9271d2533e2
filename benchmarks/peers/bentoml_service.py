"""The graph behind BentoML, one worker: `bentoml serve benchmarks.peers.bentoml_service:Detector`, in its own environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml

from benchmarks.peers.graph import Graph


@bentoml.service(workers=1)
class Detector:
    """BentoML service that scores rows."""

    def __init__(self) -> None:
        self.graph = Graph(Path(os.environ["BUNDLE"]))

    @bentoml.api  # type: ignore[untyped-decorator]  # not installed where types are checked
    def score(self, rows: list) -> dict:  # type: ignore[type-arg]  # BentoML would check what is inside
        """Return the verdicts."""
        verdicts: dict[str, Any] = self.graph.score_rows(rows)
        return verdicts
