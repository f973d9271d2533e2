"""Lower bound for `residuum serve`: a starlette handler on uvicorn around the same graph.

It reads the same row objects and answers with the same fields, reasons included, but does not validate, count, log or limit.
It runs in a process of its own: `python -m benchmarks.baselines.http_handler BUNDLE PORT`.
"""

import json
import sys
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

TOP = 3


def main() -> None:
    """Serve the bundle until the process is stopped."""
    bundle, port = Path(sys.argv[1]), int(sys.argv[2])
    app = Starlette(routes=[Route("/score", _endpoint(bundle), methods=["POST"])])
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", access_log=False, log_level="error")


def _endpoint(bundle: Path) -> Any:  # noqa: ANN401 - a coroutine function
    """Return the handler."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    names = [column["name"] for column in manifest["columns"]]
    name, version, threshold = manifest["name"], manifest["version"], manifest["decision"]["threshold"]
    calibration = np.load(bundle / "calibration.npy")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession((bundle / "model.onnx").read_bytes(), options)
    row_type = msgspec.defstruct("Row", [(name, float | None, None) for name in names])
    body = msgspec.json.Decoder(msgspec.defstruct("Body", [("rows", list[row_type])]))  # type: ignore[valid-type]
    cells = attrgetter(*names)

    def reasons(row: Any, contribution: Any, expected: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        order = np.argsort(-contribution)[:TOP].tolist()
        share = np.maximum(contribution, 0) / np.maximum(contribution, 0).sum()
        found, usual, shares = row.tolist(), expected.tolist(), share.tolist()
        return [
            {"column": names[index], "found": found[index], "expected": usual[index], "share": shares[index]} for index in order
        ]

    async def endpoint(request: Request) -> Response:
        rows = attrgetter("rows")(body.decode(await request.body()))
        matrix = np.array([cells(row) for row in rows], dtype=np.float64)
        score, contribution, expected = session.run(["score", "contribution", "expected"], {"row": matrix})
        p_values = (1 + len(calibration) - np.searchsorted(calibration, score)) / (len(calibration) + 1)
        verdicts, anomalies = [], 0
        for number, (value, p_value) in enumerate(zip(score.tolist(), p_values.tolist(), strict=True)):
            verdict = {"row": number, "anomaly_score": value, "p_value": p_value, "is_anomaly": value > threshold}
            if value > threshold:
                anomalies += 1
                verdict["reasons"] = reasons(matrix[number], contribution[number], expected[number])
            verdicts.append(verdict)
        counts = {"rows": len(verdicts), "anomalies": anomalies, "rejected": 0}
        answer = {"model": name, "version": version, "threshold": threshold, **counts, "verdicts": verdicts}
        return Response(msgspec.json.encode(answer), media_type="application/json")

    return endpoint


if __name__ == "__main__":
    main()
