"""A bundle that cannot be trusted is refused by name."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.residuum.cli.running import Run


def sign(folder: Path, **changed: object) -> None:
    """Change a manifest and make its digest fit again, as a forger or a later release would."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    (folder / "manifest.sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())


def flip(folder: Path) -> None:
    path = folder / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(folder: Path) -> None:
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-1])


def leave_the_folder(folder: Path) -> None:
    sign(folder, files={"../model.onnx": {"bytes": 1, "sha256": ""}})


def swap_the_graph(folder: Path) -> None:
    """Replace the graph by one that is not a detector's."""
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g", [value], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])]
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    sign(folder, files=files | {"model.onnx": {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}})


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped byte": (flip, "model.onnx was changed"),
    "a cut file": (cut, "it was cut or changed"),
    "a missing file": (lambda folder: (folder / "calibration.npy").unlink(), "calibration.npy is missing"),
    "a changed manifest": (lambda folder: (folder / "manifest.json").write_text('{"format": 1}'), "manifest.json was changed"),
    "a newer format": (lambda folder: sign(folder, format=99), "format 99"),
    "a path out of the folder": (leave_the_folder, "outside its folder"),
    "another graph": (swap_the_graph, "is not the graph of a detector"),
    "no bundle": (shutil.rmtree, "does not exist"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_it_is_refused(fault: str, run: Run, model: Path, table: Path, tmp_path: Path) -> None:
    change, message = FAULTS[fault]
    folder = tmp_path / "pumps"
    shutil.copytree(model / "1", folder)
    change(folder)
    result = run("score", folder, table, "--to", "out.csv")
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert not Path("out.csv").exists()
