"""The graph: foreign graphs are refused, batches are joined, only wanted rows are explained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from detector import bundle
from detector import graph as graph_module
from detector.errors import BundleCorrupt, SettingError
from detector.graph import BATCH, Graph, open_session, run_batches, tensor_widths
from tests.data.make_bundle import KEPT
from tests.detector.tampering import refused, replace


def graph(inputs: list[Any], outputs: list[Any], nodes: list[Any]) -> bytes:
    made = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 20)])
    made.ir_version = 10
    return bytes(made.SerializeToString())


def tensor(name: str, shape: list[Any] | None, kind: int = TensorProto.DOUBLE) -> Any:  # noqa: ANN401 - onnx is untyped
    return helper.make_tensor_value_info(name, kind, shape)


def like_a_detector(name: str = "row", shape: list[Any] | None = None, kind: int = TensorProto.DOUBLE) -> bytes:
    """Return a graph with a detector's outputs, all of which are copies of its input."""
    outputs = ["score", "contribution", "expected", "latent"]
    shape = ["rows", 10] if shape is None else shape
    nodes = [helper.make_node("Identity", [name], [output]) for output in outputs]
    return graph([tensor(name, shape, kind)], [tensor(output, shape, kind) for output in outputs], nodes)


def identity(outputs: list[str]) -> bytes:
    nodes = [helper.make_node("Identity", ["row"], [output]) for output in outputs]
    return graph([tensor("row", ["rows", 10])], [tensor(output, ["rows", 10]) for output in outputs], nodes)


WRONG: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "garbage": lambda: b"\x00garbage" * 100,
    "text": lambda: b"import os",
    "other name": lambda: like_a_detector("rows"),
    "float32": lambda: like_a_detector(kind=TensorProto.FLOAT),
    "texts": lambda: like_a_detector(kind=TensorProto.STRING),
    "narrow": lambda: like_a_detector(shape=["rows", 9]),
    "wide": lambda: like_a_detector(shape=["rows", 11]),
    "open width": lambda: like_a_detector(shape=["rows", "columns"]),
    "outputs missing": lambda: identity(["score", "contribution"]),
    "unknown operator": lambda: graph(
        [tensor("row", ["rows", 10])], [tensor("score", ["rows"])], [helper.make_node("Explode", ["row"], ["score"], domain="x")]
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_is_not_a_detectors_graph_is_refused(folder: Path, name: str) -> None:
    replace(folder, bundle.MODEL, WRONG[name]())
    refused(folder, BundleCorrupt, bundle.MODEL)


@pytest.mark.parametrize("shape", [["rows"], [10], [], [1, "rows", 10]], ids=["list", "fixed", "scalar", "cube"])
def test_a_graph_with_another_input_shape_is_refused(folder: Path, shape: list[Any]) -> None:
    replace(folder, bundle.MODEL, like_a_detector(shape=shape))
    refused(folder, BundleCorrupt, bundle.MODEL)


def test_a_graph_with_other_output_shapes_is_refused(folder: Path) -> None:
    replace(folder, bundle.MODEL, like_a_detector())  # its score is a matrix
    refused(folder, BundleCorrupt, bundle.MODEL)


def test_a_graph_may_not_read_other_files(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = onnx.load_from_string((folder / bundle.MODEL).read_bytes())
    big = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    (tmp_path / "secret").write_bytes(big.raw_data)
    onnx.external_data_helper.set_external_data(big, "secret")
    big.ClearField("raw_data")
    replace(folder, bundle.MODEL, bytes(model.SerializeToString()))
    refused(folder, BundleCorrupt, bundle.MODEL)


class DoublingSession:
    """Returns, for each row, its sum and its doubled values; records the size of each batch."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray], /) -> list[np.ndarray]:
        rows = inputs["row"]
        assert rows.dtype == np.float64
        assert rows.flags.c_contiguous
        self.batches.append(len(rows))
        return [{"score": rows.sum(axis=1), "contribution": 2 * rows}[name] for name in outputs]


@given(st.integers(0, 20), st.integers(1, 7), st.integers(0, 60))
def test_batches_join_as_one_run(rows: int, batch: int, limit: int) -> None:
    matrix = np.arange(3.0 * rows).reshape(rows, 3)
    session = DoublingSession()
    score, contribution = run_batches(session, ["score", "contribution"], {"row": matrix}, batch=batch)
    np.testing.assert_array_equal(score, matrix.sum(axis=1))
    np.testing.assert_array_equal(contribution, 2 * matrix)
    assert sum(session.batches) == max(rows, 1)  # a graph is not run without rows
    assert max(session.batches) <= batch
    if rows:
        score, contribution, wanted = run_batches(
            DoublingSession(), ["score", "contribution"], {"row": matrix}, lambda scores: scores > limit, batch
        )
        np.testing.assert_array_equal(score, matrix.sum(axis=1))
        np.testing.assert_array_equal(wanted, score > limit)
        np.testing.assert_array_equal(contribution, 2 * matrix[wanted])


def test_other_types_and_orders_are_cast_for_the_graph() -> None:
    matrix = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(4, 3))
    (score,) = run_batches(DoublingSession(), ["score"], {"row": matrix})
    assert score.tolist() == [3.0, 12.0, 21.0, 30.0]


def test_only_wanted_rows_are_explained_and_the_others_still_scored() -> None:
    opened = bundle.read(KEPT)
    model = Graph(opened.model, "cpu")
    matrix = np.random.default_rng(0).normal(size=(3 * BATCH // 2, model.columns))
    matrix[:, [column.kind != "number" for column in opened.manifest.columns]] = 0.0
    everything = model.explain(matrix)
    assert everything.wanted is None
    limit = float(np.median(everything.score))
    explained = model.explain(matrix, lambda scores: scores > limit)
    assert explained.wanted is not None
    assert 0 < explained.wanted.sum() < len(matrix)
    np.testing.assert_array_equal(explained.score, everything.score)
    np.testing.assert_array_equal(explained.contribution, everything.contribution[explained.wanted])
    np.testing.assert_array_equal(explained.expected, everything.expected[explained.wanted])
    np.testing.assert_allclose(everything.contribution.sum(axis=1), everything.score, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.scores(matrix), everything.score, rtol=1e-6)
    assert model.latent(matrix).shape[0] == len(matrix)


def test_a_graph_without_rows_returns_empty_outputs() -> None:
    model = Graph(bundle.read(KEPT).model, "cpu")
    outputs = model.explain(np.empty((0, model.columns)))
    assert [len(outputs.score), len(outputs.contribution), len(outputs.expected)] == [0, 0, 0]
    assert outputs.expected.shape[1] == model.columns


def test_cuda_without_its_provider_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(SettingError, match=r"has only CPUExecutionProvider here; use --device cpu, or .* onnxruntime-gpu"):
        Graph(bundle.read(KEPT).model, "cuda")
    assert Graph(bundle.read(KEPT).model, "auto").device == "cpu"


def test_a_cuda_provider_that_does_not_load_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_module, "_providers", lambda _device: ["CPUExecutionProvider"])  # what ONNX Runtime falls back to
    with pytest.raises(SettingError, match="cuda was requested"):
        Graph(bundle.read(KEPT).model, "cuda")


def test_a_graph_of_another_kind_is_named_with_its_inputs_and_outputs() -> None:
    session = open_session(like_a_detector(), "cpu", "decoder.onnx")
    with pytest.raises(
        BundleCorrupt,
        match=r"^decoder\.onnx is not a decoder: it takes row\[rows, 10\] and returns score\[rows, 10\], .*; "
        r"a decoder takes latent\[rows, k\] and noise\[rows, n\] and returns row\[rows, columns\]$",
    ):
        tensor_widths(
            session, "decoder.onnx", "decoder", {"latent": "[rows, k]", "noise": "[rows, n]"}, {"row": "[rows, columns]"}
        )
