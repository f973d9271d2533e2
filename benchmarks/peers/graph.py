"""The graph as every serving peer runs it: the same model, the same response fields. Runs in the peers' own environments.

It needs numpy and ONNX Runtime only; rows are what the peer's own JSON parser returns, one dict per row.
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

    def score_rows(self, rows: list[dict[str, float]]) -> dict[str, Any]:
        """Return the response to rows, one dict per row."""
        return self.score_matrix(np.array([[row[name] for name in self._names] for row in rows], dtype=np.float64))

    def score_matrix(self, matrix: np.ndarray) -> dict[str, Any]:
        """Return the response to `float64[rows, columns]`."""
        score, contribution, expected = self._session.run(["score", "contribution", "expected"], {"row": matrix})
        count = len(self._calibration)
        p_values = (1 + count - np.searchsorted(self._calibration, score)) / (count + 1)
        verdicts, anomalies = [], 0
        for number, (value, p_value) in enumerate(zip(score.tolist(), p_values.tolist(), strict=True)):
            verdict = {"row": number, "anomaly_score": value, "p_value": p_value, "is_anomaly": value > self._head["threshold"]}
            if verdict["is_anomaly"]:
                anomalies += 1
                verdict["reasons"] = self._reasons(matrix[number], contribution[number], expected[number])
            verdicts.append(verdict)
        return {**self._head, "rows": len(verdicts), "anomalies": anomalies, "rejected": 0, "verdicts": verdicts}

    def _reasons(self, row: np.ndarray, contribution: np.ndarray, expected: np.ndarray) -> list[dict[str, Any]]:
        order = np.argsort(-contribution)[:TOP].tolist()
        share = np.maximum(contribution, 0) / np.maximum(contribution, 0).sum()
        found, usual, shares = row.tolist(), expected.tolist(), share.tolist()
        return [
            {"column": self._names[index], "found": found[index], "expected": usual[index], "share": shares[index]}
            for index in order
        ]
