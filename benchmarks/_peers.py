"""The peers that serve and stream: an environment of their own for each, made at the first run, and how each is started.

MLServer wants a starlette that the others do not have; so environments are one a peer, in `.venv-peers`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks._child import ROOT

FOLDER = ROOT / ".venv-peers"
ALL = ("numpy", "onnxruntime")


class Peer(NamedTuple):
    """A server that is not ours."""

    name: str
    package: str
    path: str  # that rows are sent to
    command: Callable[[Path, Path, int, Path], list[str]]  # of its environment's programs, the bundle, a port and a folder
    body: Callable[[list[dict[str, float]]], Any]


def mlserver(programs: Path, bundle: Path, port: int, folder: Path) -> list[str]:
    """Write MLServer's settings."""
    ports = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
    (folder / "settings.json").write_text(json.dumps({**ports, "host": "127.0.0.1", "parallel_workers": 0, "debug": False}))
    runtime = {"implementation": "benchmarks._peer_mlserver.Runtime", "parameters": {"uri": str(bundle)}}
    (folder / "model-settings.json").write_text(json.dumps({"name": "pumps", **runtime}))
    return [str(programs / "mlserver"), "start", str(folder)]


def tensor(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Give rows as one tensor of the Open Inference Protocol: less to read than an input a column."""
    cells = [cell for row in rows for cell in row.values()]
    return {"inputs": [{"name": "rows", "datatype": "FP64", "shape": [len(rows), len(rows[0])], "data": cells}]}


def objects(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Give rows as they are."""
    return {"rows": rows}


PEERS = (
    Peer("MLServer", "mlserver", "/v2/models/pumps/infer", mlserver, tensor),
    Peer(
        "LitServe",
        "litserve",
        "/predict",
        lambda programs, bundle, port, _: [str(programs / "python"), "-m", "benchmarks._peer_litserve", str(bundle), str(port)],
        objects,
    ),
    Peer(
        "BentoML",
        "bentoml",
        "/score",
        lambda programs, _, port, __: [
            str(programs / "bentoml"),
            "serve",
            "benchmarks._peer_bentoml:Detector",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ],
        objects,
    ),
)


def installed(package: str) -> Path | None:
    """Give the folder of a peer's programs, installing it where that was not done yet; None where it cannot be."""
    folder = FOLDER / package
    if not (folder / "bin" / "python").exists():
        made = [[sys.executable, "-m", "venv", folder], [folder / "bin" / "pip", "install", "-q", package, *ALL]]
        for command in made:
            if subprocess.run([*map(str, command)], capture_output=True, check=False).returncode:
                return None
    return folder / "bin"
