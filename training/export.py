"""Export the trained module as ONNX, and prove that both agree.

An export fails unless ONNX Runtime scores as torch does: scores within the graph's tolerance, verdicts equal outside it.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Protocol, Self

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from detector.decision import Decision
from detector.errors import TrainingError
from detector.graph import OUTPUTS, Device, Graph
from detector.manifest import Parity
from training.missing_cells import IN_ONNX

OPSET = 20
EXAMPLE_ROWS = 3
MAX_BATCH_CELLS = 2**21


class ScoringModule(Protocol):
    """A module that scores: `training.graph.DetectorGraph`, `training.series.graph.SeriesGraph`."""

    @property
    def input(self) -> str:
        """The name of the graph's input."""

    @property
    def tolerance(self) -> float:
        """The largest difference between torch and ONNX Runtime, relative to max(1, |score|)."""

    def example(self, rows: int) -> Tensor:
        """Return example inputs for tracing."""

    def in_float64(self) -> Self:
        """Convert the module to float64."""

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return score, contribution, expected and latent."""


def to_onnx(graph: ScoringModule) -> bytes:
    """Return the module as one ONNX file, without external data or traces of the machine it was made on."""
    assert isinstance(graph, nn.Module)  # noqa: S101 - all are
    return module_to_onnx(graph.cpu().eval(), (graph.example(EXAMPLE_ROWS),), [graph.input], list(OUTPUTS))


def module_to_onnx(module: nn.Module, example: tuple[Tensor, ...], inputs: list[str], outputs: list[str]) -> bytes:
    """Return any module as ONNX; all inputs have the same number of rows, and `example` is for tracing."""
    rows = torch.export.Dim("rows")
    with _quiet():
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=tuple({0: rows} for _ in example),
            custom_translation_table=IN_ONNX,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise TrainingError("torch returned no ONNX program for the trained network")
    return _without_metadata(program.model_proto)


def to_accurate_onnx(graph: ScoringModule, rows: np.ndarray) -> bytes:
    """Return the module as ONNX; converted to float64 if in float32 torch and ONNX Runtime disagree on the rows."""
    model = to_onnx(graph)
    if _largest_difference(graph, Graph(model, "cpu"), rows) > graph.tolerance:
        model = to_onnx(graph.in_float64())
    return model


def prove(graph: ScoringModule, model: bytes, rows: np.ndarray, decision: Decision, device: Device) -> Parity:
    """Compare torch with ONNX Runtime on rows, `float64[rows, columns]`, or whatever the graph takes.

    Raises:
        TrainingError: they disagree.
    """
    opened = Graph(model, device)
    served = opened.explain(rows)
    trained = torch_scores(graph, rows)
    size = np.maximum(1.0, np.abs(trained))
    difference = np.abs(served.score - trained) / size
    additivity = np.abs(served.contribution.sum(axis=1) - served.score) / size
    differs = decision.is_anomaly(trained) != decision.is_anomaly(served.score)
    outside = differs & (np.abs(trained - decision.threshold) > graph.tolerance * size)
    parity = Parity(
        rows=len(rows),
        provider=opened.provider,
        largest_difference=float(difference.max()),
        tolerance=graph.tolerance,
        verdicts_that_differ=int(outside.sum()),
        nodes_on_cpu=opened.nodes_on_cpu,
    )
    if not (difference.max() <= graph.tolerance and additivity.max() <= graph.tolerance and not outside.any()):
        raise TrainingError(
            f"the exported graph is not the trained network on {opened.provider}: scores differ by up to "
            f"{difference.max():.2g}, sums of contributions by up to {additivity.max():.2g} (allowed "
            f"{graph.tolerance:g}), {parity.verdicts_that_differ} of {len(rows)} verdicts differ; nothing was written"
        )
    return parity


def _largest_difference(graph: ScoringModule, opened: Graph, rows: np.ndarray) -> float:
    """Return the largest difference between torch and ONNX Runtime, relative to max(1, |score|)."""
    trained = torch_scores(graph, rows)
    return float(np.max(np.abs(opened.scores(rows) - trained) / np.maximum(1.0, np.abs(trained))))


def torch_scores(graph: ScoringModule, rows: np.ndarray, batch: int = 4096) -> np.ndarray:
    """Return the scores of the torch module on the CPU, `float64[rows]`."""
    batch = min(batch, max(1, MAX_BATCH_CELLS // rows.shape[1]))
    with torch.no_grad():
        parts = [graph(torch.from_numpy(rows[start : start + batch]))[0] for start in range(0, len(rows), batch)]
    scores: np.ndarray = torch.cat(parts).numpy()
    return scores


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's warnings about optional packages and about torch's own internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "# The axis name: rows will not be used", UserWarning)
            # Exporting LSTM and GRU, torch warns about its own code.
            warnings.filterwarnings("ignore", "_check_is_size will be removed", FutureWarning)
            warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf", UserWarning)
            warnings.filterwarnings("ignore", "The tensor attributes? self.*assigned during export", UserWarning)
            yield
    finally:
        logger.setLevel(level)


def _without_metadata(model: onnx.ModelProto) -> bytes:
    """Return the model without the exporter's metadata: source paths, stack traces, names of modules."""
    model.producer_name, model.producer_version, model.doc_string = "residuum", "", ""
    del model.metadata_props[:]
    _strip_graph(model.graph)
    for function in model.functions:
        del function.metadata_props[:]
        for node in function.node:
            _strip_node(node)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _strip_graph(graph: onnx.GraphProto) -> None:
    """Clear the metadata of a graph and of the graphs inside its nodes."""
    graph.doc_string = ""
    del graph.metadata_props[:]
    for value in (*graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    for node in graph.node:
        _strip_node(node)


def _strip_node(node: onnx.NodeProto) -> None:
    del node.metadata_props[:]
    node.doc_string = ""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            _strip_graph(attribute.g)
