"""The graph behind LitServe, one worker: `python -m benchmarks.peers.litserve_service BUNDLE PORT`, in its own environment."""

import sys
from pathlib import Path
from typing import Any

import litserve
from fastapi import Request

from benchmarks.peers.graph import Graph


class API(litserve.LitAPI):  # type: ignore[misc]  # not installed where types are checked
    """LitServe API that scores rows."""

    def setup(self, device: str) -> None:
        """Open the graph."""
        del device
        self.graph = Graph(Path(sys.argv[1]))

    def decode_request(self, request: Request) -> list[dict[str, float]]:
        """Return the rows; LitServe has parsed the JSON already, whatever the type says."""
        rows: list[dict[str, float]] = request["rows"]
        return rows

    def predict(self, rows: list[dict[str, float]]) -> dict[str, Any]:
        """Return the verdicts."""
        return self.graph.score_rows(rows)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Return the verdicts unchanged."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(API(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="error")
