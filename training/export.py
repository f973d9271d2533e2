"""Export the trained module as ONNX, and prove that both agree.

An export fails unless ONNX Runtime scores as torch does: scores within the graph's tolerance, verdicts equal outside it.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import warnings
from collections.abc import Iterator, MutableSequence, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import onnx
import torch
from onnxscript import TracedOnnxFunction, ir
from onnxscript.optimizer import remove_unused_nodes
from torch import Tensor, nn

from detector.decision import Decision
from detector.errors import TrainingError
from detector.graph import OUTPUTS, Device, Graph
from detector.manifest import Parity
from training.missing_cells import IN_ONNX as MISSING_CELLS
from training.networks.likeness import IN_ONNX as LIKENESS

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


class GraphPart(NamedTuple):
    """A module, for one graph of a bundle; all inputs have the same number of rows."""

    module: nn.Module
    example: tuple[Tensor, ...]  # for tracing
    inputs: Sequence[str]
    outputs: Sequence[str]
    rows: str = "rows"  # the name of the first axis; no two parts share one, or one would read its length from the other's input

    def named(self, prefix: str) -> GraphPart:
        """Return the part with a prefix to its names."""
        return self._replace(inputs=[prefix + name for name in self.inputs], outputs=[prefix + name for name in self.outputs])


class _Together(nn.ModuleList):
    """The modules of several parts, as one module."""

    def __init__(self, parts: Sequence[GraphPart]) -> None:
        """Hold the modules, and how many inputs each takes."""
        super().__init__(part.module for part in parts)
        self.widths = [len(part.inputs) for part in parts]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of all parts, one after the other, from their inputs."""
        left, outputs = iter(inputs), list[Tensor]()
        for module, width in zip(self, self.widths, strict=True):
            found = module(*itertools.islice(left, width))
            outputs += [found] if isinstance(found, Tensor) else found
        return tuple(outputs)


def scoring_part(graph: ScoringModule) -> GraphPart:
    """Return the part of a module that scores."""
    assert isinstance(graph, nn.Module)  # noqa: S101 - all are
    return GraphPart(graph, (graph.example(EXAMPLE_ROWS),), [graph.input], list(OUTPUTS))


def to_onnx(parts: Sequence[GraphPart]) -> list[bytes]:
    """Return each part as one ONNX file, without external data or traces of the machine it was made on.

    All are traced at once: most of an export's time depends little on the size of what is exported.
    """
    named = [part.named(f"part_{number}.") for number, part in enumerate(parts)]
    together = _Together(named).cpu().eval()
    axes = tuple({0: torch.export.Dim(part.rows)} for part in named for _ in part.inputs)
    example = tuple(itertools.chain.from_iterable(part.example for part in named))
    with _quiet(), _garbage_left(), _translations_unparsed():
        program = torch.onnx.export(
            together,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(itertools.chain.from_iterable(part.inputs for part in named)),
            output_names=list(itertools.chain.from_iterable(part.outputs for part in named)),
            dynamic_shapes=(axes,),
            custom_translation_table=MISSING_CELLS | LIKENESS,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise TrainingError("torch returned no ONNX program for the trained network")
    model = program.model_proto
    return [_without_metadata(_cut(model, part, prefixed)) for part, prefixed in zip(parts, named, strict=True)]


def _cut(model: onnx.ModelProto, part: GraphPart, prefixed: GraphPart) -> onnx.ModelProto:
    """Return the graph of one part, without the prefixes of its names."""
    cut = ir.from_proto(_without_others(model, prefixed))
    renamed = (*zip(cut.graph.inputs, part.inputs, strict=True), *zip(cut.graph.outputs, part.outputs, strict=True))
    for value, name in renamed:
        value.name = name
    return ir.to_proto(cut)


def _without_others(model: onnx.ModelProto, part: GraphPart) -> onnx.ModelProto:
    """Return a copy without the inputs, outputs and nodes of other parts."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    _keep_named(cut.graph.output, part.outputs)
    nodes = 0
    while len(cut.graph.node) != nodes:  # the nodes that an `If` needs can go once it is gone
        nodes = len(cut.graph.node)
        remove_unused_nodes(cut)
    _keep_named(cut.graph.input, part.inputs)
    return cut


def _keep_named(values: MutableSequence[onnx.ValueInfoProto], names: Sequence[str]) -> None:
    """Remove the values that have other names."""
    for index in reversed(range(len(values))):
        if values[index].name not in names:
            del values[index]


def to_accurate_onnx(graph: ScoringModule, rows: np.ndarray, further: Sequence[GraphPart] = ()) -> list[bytes]:
    """Return the module and further parts as ONNX; converted to float64 if in float32 torch and ONNX Runtime disagree on rows.

    `further` are parts of the same network, such as its decoder.
    """
    files = to_onnx([scoring_part(graph), *further])
    if _largest_difference(graph, Graph(files[0], "cpu"), rows) > graph.tolerance:
        files = to_onnx([scoring_part(graph.in_float64()), *further])
    return files


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
def _garbage_left() -> Iterator[None]:
    """Keep Python from collecting garbage: each collection visits all objects of torch, in sum a fifth of an export."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


Translation: Any = TracedOnnxFunction
PARSED = vars(TracedOnnxFunction).get("function_ir")  # a property that parses the source of a translation


@contextlib.contextmanager
def _translations_unparsed() -> Iterator[None]:
    """Keep torch from parsing the sources of all its 500 translations in each export, of which it reads the domain only.

    Without effect under a version of onnxscript that has no such property.
    """
    if not isinstance(PARSED, property):
        yield
        return
    Translation.function_ir = property(lambda function: SimpleNamespace(domain=function.opset.domain))
    try:
        yield
    finally:
        Translation.function_ir = PARSED


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's warnings about optional packages and about torch's own internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"# The axis name: \w+ will not be used", UserWarning)
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
