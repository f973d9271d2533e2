"""The trained module as ONNX, and the proof that the two are the same.

Nothing leaves here that ONNX Runtime does not score as torch does: scores within the graph's tolerance, verdicts equal
outside it.
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
MOST_AT_ONCE = 2**21  # cells


class Scoring(Protocol):
    """A module that scores: `training.graph.DetectorGraph` and its like."""

    @property
    def input(self) -> str:
        """The name of what goes in."""

    @property
    def tolerance(self) -> float:
        """How far apart torch and ONNX Runtime may be, relative to max(1, |score|)."""

    def example(self, rows: int) -> Tensor:
        """Give so many of what goes in, to trace it with."""

    def in_float64(self) -> Self:
        """Compute in float64."""

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Give score, contribution, expected and latent."""


def to_onnx(graph: Scoring) -> bytes:
    """Write the module as one ONNX file, without external data and without a word about the machine it was made on."""
    assert isinstance(graph, nn.Module)  # noqa: S101 - all are
    return module_to_onnx(graph.cpu().eval(), (graph.example(EXAMPLE_ROWS),), [graph.input], list(OUTPUTS))


def module_to_onnx(module: nn.Module, example: tuple[Tensor, ...], inputs: list[str], outputs: list[str]) -> bytes:
    """Write any module whose inputs have as many rows as each other; `example` is what to trace it with."""
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
        raise TrainingError("torch gave no ONNX program for the trained network")
    return _stripped(program.model_proto)


def proven(graph: Scoring, rows: np.ndarray) -> bytes:
    """Write the module as ONNX, in float64 if float32 cannot keep torch and ONNX Runtime together on the rows.

    Raises:
        TrainingError: they disagree even so.
    """
    model = to_onnx(graph)
    if _apart(graph, Graph(model, "cpu"), rows) > graph.tolerance:
        model = to_onnx(graph.in_float64())
    return model


def prove(graph: Scoring, model: bytes, rows: np.ndarray, decision: Decision, device: Device) -> Parity:
    """Compare torch with ONNX Runtime on rows, `float64[rows, columns]`, or whatever the graph takes.

    Raises:
        TrainingError: they disagree; there must be no bundle.
    """
    opened = Graph(model, device)
    served = opened.explain(rows)
    trained = torch_scores(graph, rows)
    size = np.maximum(1.0, np.abs(trained))
    difference = np.abs(served.score - trained) / size
    additivity = np.abs(served.contribution.sum(axis=1) - served.score) / size
    apart = decision.is_anomaly(trained) != decision.is_anomaly(served.score)
    outside = apart & (np.abs(trained - decision.threshold) > graph.tolerance * size)
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
            f"{difference.max():.2g}, contributions miss their score by up to {additivity.max():.2g} (allowed "
            f"{graph.tolerance:g}), {parity.verdicts_that_differ} of {len(rows)} verdicts differ; nothing was written"
        )
    return parity


def _apart(graph: Scoring, opened: Graph, rows: np.ndarray) -> float:
    """Give how far apart torch and ONNX Runtime are at most, relative to max(1, |score|)."""
    trained = torch_scores(graph, rows)
    return float(np.max(np.abs(opened.scores(rows) - trained) / np.maximum(1.0, np.abs(trained))))


def torch_scores(graph: Scoring, rows: np.ndarray, batch: int = 4096) -> np.ndarray:
    """Score rows with the torch module, on the CPU: `float64[rows]`."""
    batch = min(batch, max(1, MOST_AT_ONCE // rows.shape[1]))
    with torch.no_grad():
        parts = [graph(torch.from_numpy(rows[at : at + batch]))[0] for at in range(0, len(rows), batch)]
    scores: np.ndarray = torch.cat(parts).numpy()
    return scores


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from telling which of torch's companions are not installed, and other things of its own."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "# The axis name: rows will not be used", UserWarning)
            # LSTM and GRU: torch tells its own authors of what they will rename, and us that it moved its own weights.
            warnings.filterwarnings("ignore", "_check_is_size will be removed", FutureWarning)
            warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf", UserWarning)
            warnings.filterwarnings("ignore", "The tensor attributes? self.*assigned during export", UserWarning)
            yield
    finally:
        logger.setLevel(level)


def _stripped(model: onnx.ModelProto) -> bytes:
    """Drop what the exporter notes of itself: source paths, stack traces, names of modules."""
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
    """Drop the notes of a graph and of the graphs inside its nodes."""
    graph.doc_string = ""
    del graph.metadata_props[:]
    for value in (*graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    for node in graph.node:
        _strip_node(node)


def _strip_node(node: onnx.NodeProto) -> None:
    """Drop the notes of a node."""
    del node.metadata_props[:]
    node.doc_string = ""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            _strip_graph(attribute.g)
