"""What every serving peer does with rows: the same graph, the same fields. Runs in the peers' own environments.

numpy and ONNX Runtime alone; rows are what the peer's own reading of JSON gives, a dict each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

TOP = 3


class Graph:
    """A bundle's graph."""

    def __init__(self, bundle: Path) -> None:
        manifest = json.loads((bundle / "manifest.json").read_text())
        self._names = [column["name"] for column in manifest["columns"]]
        self._head = {"model": manifest["name"], "version": manifest["version"], "threshold": manifest["decision"]["threshold"]}
        self._calibration = np.load(bundle / "calibration.npy")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession((bundle / "model.onnx").read_bytes(), options)

    def of_rows(self, rows: list[dict[str, float]]) -> dict[str, Any]:
        """Answer rows."""
        return self.of_matrix(np.array([[row[name] for name in self._names] for row in rows], dtype=np.float64))

    def of_matrix(self, matrix: np.ndarray) -> dict[str, Any]:
        """Answer `float64[rows, columns]`."""
        score, contribution, expected = self._session.run(["score", "contribution", "expected"], {"row": matrix})
        count = len(self._calibration)
        p_values = (1 + count - np.searchsorted(self._calibration, score)) / (count + 1)
        verdicts, anomalies = [], 0
        for place, (height, p_value) in enumerate(zip(score.tolist(), p_values.tolist(), strict=True)):
            said = {"row": place, "anomaly_score": height, "p_value": p_value, "is_anomaly": height > self._head["threshold"]}
            if said["is_anomaly"]:
                anomalies += 1
                said["reasons"] = self._blame(matrix[place], contribution[place], expected[place])
            verdicts.append(said)
        return {**self._head, "rows": len(verdicts), "anomalies": anomalies, "rejected": 0, "verdicts": verdicts}

    def _blame(self, row: np.ndarray, contribution: np.ndarray, expected: np.ndarray) -> list[dict[str, Any]]:
        order = np.argsort(-contribution)[:TOP].tolist()
        share = np.maximum(contribution, 0) / np.maximum(contribution, 0).sum()
        found, usual, shares = row.tolist(), expected.tolist(), share.tolist()
        return [{"column": self._names[at], "found": found[at], "expected": usual[at], "share": shares[at]} for at in order]
