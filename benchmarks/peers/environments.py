"""The peers for serving and streaming: one virtual environment each, created at the first run, and how each is started.

MLServer needs another starlette than the others, so every peer has an environment of its own in `.venv-peers`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness.processes import ROOT

FOLDER = ROOT / ".venv-peers"
NEEDED_BY_ALL = ("numpy", "onnxruntime")


class Peer(NamedTuple):
    """Another model server."""

    name: str
    package: str
    path: str  # of the scoring endpoint
    command: Callable[[Path, Path, int, Path], list[str]]  # (programs, bundle, port, folder) -> command
    body: Callable[[list[dict[str, float]]], Any]


def mlserver(programs: Path, bundle: Path, port: int, folder: Path) -> list[str]:
    """Write MLServer's settings and return its command."""
    ports = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
    (folder / "settings.json").write_text(json.dumps({**ports, "host": "127.0.0.1", "parallel_workers": 0, "debug": False}))
    runtime = {"implementation": "benchmarks.peers.mlserver_runtime.Runtime", "parameters": {"uri": str(bundle)}}
    (folder / "model-settings.json").write_text(json.dumps({"name": "pumps", **runtime}))
    return [str(programs / "mlserver"), "start", str(folder)]


def tensor(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Return rows as one tensor of the Open Inference Protocol, which parses faster than one input per column."""
    cells = [cell for row in rows for cell in row.values()]
    return {"inputs": [{"name": "rows", "datatype": "FP64", "shape": [len(rows), len(rows[0])], "data": cells}]}


def objects(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Return a body of row objects."""
    return {"rows": rows}


PEERS = (
    Peer("MLServer", "mlserver", "/v2/models/pumps/infer", mlserver, tensor),
    Peer(
        "LitServe",
        "litserve",
        "/predict",
        lambda programs, bundle, port, _: [
            str(programs / "python"),
            "-m",
            "benchmarks.peers.litserve_service",
            str(bundle),
            str(port),
        ],
        objects,
    ),
    Peer(
        "BentoML",
        "bentoml",
        "/score",
        lambda programs, _, port, __: [
            str(programs / "bentoml"),
            "serve",
            "benchmarks.peers.bentoml_service:Detector",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ],
        objects,
    ),
)


def installed(package: str) -> Path | None:
    """Return the folder of a peer's programs, after installing it if needed; None if it cannot be installed."""
    folder = FOLDER / package
    if not (folder / "bin" / "python").exists():
        commands = [[sys.executable, "-m", "venv", folder], [folder / "bin" / "pip", "install", "-q", package, *NEEDED_BY_ALL]]
        for command in commands:
            if subprocess.run([*map(str, command)], capture_output=True, check=False).returncode:
                return None
    return folder / "bin"
