"""Versions that their responses identify, and clients that send requests all the time and check for mixed responses."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import msgspec
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from detector import bundle
from detector.decision import Decision
from detector.graph import INPUT, OUTPUTS
from tests.data.make_bundle import write_minimal
from tests.tables import normal_rows


def write(folder: Path, version: int) -> None:
    """Write a version whose threshold is its number, which identifies its responses."""
    decision = Decision(threshold=float(version), promise="value", criterion="chosen")
    write_minimal(folder / "pumps" / str(version), name="pumps", version=version, decision=decision)


def add(folder: Path, version: int) -> None:
    """Write a version as the commands do: completely, then by a rename."""
    write(folder / ".work", version)
    (folder / ".work" / "pumps" / str(version)).rename(folder / "pumps" / str(version))


def add_bad(folder: Path, version: int) -> None:
    """Write a version with one changed byte."""
    write(folder / ".work", version)
    file = folder / ".work" / "pumps" / str(version) / bundle.MODEL
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    file.parent.rename(folder / "pumps" / str(version))


def add_failing(folder: Path, version: int) -> None:
    """Write a valid version that cannot score."""
    place = folder / "pumps" / str(version)
    manifest = bundle.read_manifest(folder / "pumps" / "1")
    least = {bundle.MODEL: failing_graph(), bundle.CALIBRATION: (folder / "pumps" / "1" / bundle.CALIBRATION).read_bytes()}
    place.mkdir()
    bundle.write(place, msgspec.structs.replace(manifest, version=version), least)


def failing_graph() -> bytes:
    """Return a graph with the right inputs and outputs that fails when it runs."""
    shapes = {1: np.array([-1]), 2: np.array([-1, 7])}  # ten cells are no rows of seven
    nodes = [helper.make_node("Reshape", [INPUT, f"to_{axes}"], [name]) for name, axes in OUTPUTS.items()]
    given = helper.make_tensor_value_info(INPUT, TensorProto.DOUBLE, ["rows", 10])
    outputs = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["rows"] * axes) for name, axes in OUTPUTS.items()]
    graph = helper.make_graph(
        nodes, "failing", [given], outputs, [numpy_helper.from_array(shape, f"to_{axes}") for axes, shape in shapes.items()]
    )
    content: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    return content


class Load:
    """Clients that send requests all the time, and the versions and failures in the responses."""

    def __init__(self, url: str) -> None:
        self.versions: list[int] = []
        self.faults: list[object] = []
        self._rows = normal_rows(20, seed=5).to_dicts()
        self._url = f"{url}/v1/models/pumps/score"
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def answered_by(self, version: int) -> bool:
        """Return whether the latest response came from a version."""
        return self.versions[-1:] == [version]

    def _ask(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._ended.is_set():
                try:
                    self._check(client.post(self._url, json=self._rows))
                except Exception as error:  # noqa: BLE001 - any is a fault
                    self.faults.append(error)

    def _check(self, response: httpx.Response) -> None:
        answer = response.json()
        flags = {each["is_anomaly"] == (each["anomaly_score"] > answer["version"]) for each in answer["verdicts"]}
        if response.status_code == 200 and answer["threshold"] == answer["version"] and flags == {True}:
            self.versions.append(answer["version"])
        else:
            self.faults.append(answer)
