"""The graph behind BentoML, one worker: `bentoml serve benchmarks._peer_bentoml:Detector`, in its own environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml

from benchmarks._peer_graph import Graph


@bentoml.service(workers=1)
class Detector:
    """Rows in, verdicts out."""

    def __init__(self) -> None:
        self.graph = Graph(Path(os.environ["BUNDLE"]))

    @bentoml.api  # type: ignore[untyped-decorator]  # not installed where types are checked
    def score(self, rows: list) -> dict:  # type: ignore[type-arg]  # BentoML would check what is inside
        """Judge."""
        said: dict[str, Any] = self.graph.of_rows(rows)
        return said
