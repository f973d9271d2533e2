"""The ONNX graph: `float64[rows, columns]` in; score, contribution, expected and latent out.

The graph of a series takes windows, `float64[windows, length, columns]`, and scores each window's newest row. The graph of
images takes `float64[images, channels, height, width]`; its contribution is a map, `[images, height, width]`. This module
takes and returns images and maps with these axes flattened.

The graph is the whole computation: nothing here does mathematics. This module opens the session on a device, checks the
graph's inputs and outputs, and runs it in batches that fit the processor's cache.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import onnxruntime

from detector.errors import BundleCorrupt, SettingError

Device = Literal["auto", "cpu", "cuda"]

INPUT = "row"
WINDOW = "window"  # the input of a graph of series
OUTPUTS = {"score": 1, "contribution": 2, "expected": 2, "latent": 2}  # name: number of axes
IMAGE_INPUT = "image"
IMAGE_OUTPUTS = {"score": 1, "contribution": 3, "expected": 4, "latent": 2}
BATCH = 2048  # rows
IMAGE_BATCH = 2**18  # values of a batch of images; the tensors between layers are many times as large
WINDOW_BATCH = 2**16  # cells of a batch of windows
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


Wanted = Callable[[np.ndarray], np.ndarray]  # scores, float64[rows] -> the rows to explain, bool[rows]


class GraphSession(Protocol):
    """Runs a graph: ONNX Runtime's session, or a substitute."""

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray], /) -> list[np.ndarray]:
        """Return the named outputs for the named inputs."""


class Outputs(NamedTuple):
    """The graph's outputs; contribution and expected may hold only the rows to explain."""

    score: np.ndarray  # float64[rows], nats
    contribution: np.ndarray  # float64[rows, columns + extra terms], of images [rows, positions]; a row's sum is its score
    expected: np.ndarray  # float64[rows, columns], in the user's units; a category as its code
    wanted: np.ndarray | None = None  # bool[rows], the rows to explain; None: all


class Graph:
    """An opened model graph. Safe to use from several threads."""

    def __init__(self, model: bytes, device: Device = "auto") -> None:
        """Open the graph.

        Raises:
            SettingError: the requested device is not available.
            BundleCorrupt: the bytes are not the graph of a detector.
        """
        session = open_session(model, device, "model.onnx")
        self._session: GraphSession = session
        self.provider: str = session.get_providers()[0]
        self._input, self.axes = _input(session)
        self._batch = batch_rows(self._input, self.axes)
        self.nodes_on_cpu = nodes_on_cpu(session)

    @property
    def columns(self) -> int:
        """The number of columns of a table, or values of an image, that make a row."""
        return self.axes[-1] if self._input == WINDOW else math.prod(self.axes)

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """The device that runs the graph."""
        return "cuda" if self.provider == _CUDA else "cpu"

    def scores(self, matrix: np.ndarray) -> np.ndarray:
        """Return the scores, `float64[rows]`, of `float64[rows, columns]`."""
        return self._run(matrix, ["score"])[0]

    def explain(self, matrix: np.ndarray, wanted: Wanted | None = None) -> Outputs:
        """Return scores, contributions and expected values of `float64[rows, columns]`.

        `wanted` selects the rows to explain by their scores, batch by batch and in order; contribution and expected then
        hold only these rows.
        """
        return Outputs(*self._run(matrix, ["score", "contribution", "expected"], wanted))

    def latent(self, matrix: np.ndarray) -> np.ndarray:
        """Return the latent code of each row: `float32[rows, latents]`."""
        return self._run(matrix, ["latent"])[0]

    def _run(self, matrix: np.ndarray, outputs: list[str], wanted: Wanted | None = None) -> list[np.ndarray]:
        if self._input != IMAGE_INPUT:
            return run_batches(self._session, outputs, {self._input: matrix}, wanted, self._batch)
        images = {IMAGE_INPUT: matrix.reshape(len(matrix), *self.axes)}
        values = run_batches(self._session, outputs, images, wanted, self._batch)
        return [part.reshape(len(part), int(np.prod(part.shape[1:]))) if part.ndim > 1 else part for part in values]


def batch_rows(name: str, axes: tuple[int, ...]) -> int:
    """Return the number of rows to run at once."""
    values = {WINDOW: WINDOW_BATCH, IMAGE_INPUT: IMAGE_BATCH}.get(name)
    return max(1, values // math.prod(axes)) if values else BATCH


def run_batches(
    session: GraphSession, outputs: list[str], inputs: dict[str, np.ndarray], wanted: Wanted | None = None, batch: int = BATCH
) -> list[np.ndarray]:
    """Run a graph in batches on inputs with the same number of rows, cast to float64, and return its outputs.

    `wanted` selects rows by the first output; the other outputs hold only these, and the selection, `bool[rows]`, is
    returned last.
    """
    rows = len(next(iter(inputs.values())))
    if not rows:  # a graph may not support batches without rows
        one_row = {name: np.zeros((1, *values.shape[1:])) for name, values in inputs.items()}
        return [part[:0] for part in session.run(outputs, one_row)]
    if rows <= batch:
        return _run_batch(session, outputs, inputs, wanted)
    parts = [
        _run_batch(session, outputs, {name: values[start : start + batch] for name, values in inputs.items()}, wanted)
        for start in range(0, rows, batch)
    ]
    return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]


def _run_batch(
    session: GraphSession, outputs: list[str], inputs: dict[str, np.ndarray], wanted: Wanted | None
) -> list[np.ndarray]:
    """Run a graph on one batch; rows that are not wanted are dropped here, because joining them costs a fifth of the graph."""
    first, *rest = session.run(outputs, {name: np.ascontiguousarray(values, dtype=np.float64) for name, values in inputs.items()})
    if not wanted:
        return [first, *rest]
    selected = wanted(first)
    at = selected.nonzero()[0]
    kept = at if len(at) else slice(0)
    return [first, *[part[kept] for part in rest], selected]


def open_session(model: bytes, device: Device, file: str) -> onnxruntime.InferenceSession:
    """Open a session on one of a bundle's graphs.

    It uses one thread, because small networks lose more by synchronisation than they gain by threads.

    Raises:
        SettingError: the requested device is not available.
        BundleCorrupt: the bytes are not an ONNX graph; `file` is its name in the message.
    """
    providers = _providers(device)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # External weights would be read relative to the working directory: point the search at a path that holds no files.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        session = onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:
        raise BundleCorrupt(f"{file} is not a graph that ONNX Runtime can open: {error}") from error
    if device == "cuda" and session.get_providers()[0] != _CUDA:
        raise SettingError(_no_cuda(session.get_providers()))
    return session


def nodes_on_cpu(session: onnxruntime.InferenceSession) -> int:
    """Return the number of nodes that a GPU provider left to the CPU; 0 if the CPU was chosen."""
    if session.get_providers()[0] == _CPU:
        return 0
    assigned = session.get_provider_graph_assignment_info()
    return sum(len(part.get_nodes()) for part in assigned if part.ep_name == _CPU)


def tensor_widths(
    session: onnxruntime.InferenceSession, file: str, noun: str, inputs: Mapping[str, str], outputs: Mapping[str, str]
) -> list[int]:
    """Return the widths of a graph's inputs and outputs, all of which must be `float64[rows, width]`.

    `inputs` and `outputs` map their names, in order, to their shapes as written in the message.

    Raises:
        BundleCorrupt: `file` is not such a graph, which is called `noun` in the message.
    """
    tensors = [*session.get_inputs(), *session.get_outputs()]
    found = [(tensor.name, tensor.type, len(tensor.shape)) for tensor in tensors]
    widths = [tensor.shape[-1] for tensor in tensors if tensor.shape]
    expected = [(name, "tensor(double)", 2) for name in (*inputs, *outputs)]
    if found != expected or not all(isinstance(width, int) for width in widths):
        taken, returned = (" and ".join(f"{name}{shape}" for name, shape in part.items()) for part in (inputs, outputs))
        raise BundleCorrupt(f"{file} is not a {noun}: {_signature(session)}; a {noun} takes {taken} and returns {returned}")
    return widths


def _providers(device: Device) -> list[Any]:
    """Return ONNX Runtime's providers for a device, the preferred one first."""
    available = onnxruntime.get_available_providers()
    if device == "cuda" and _CUDA not in available:
        raise SettingError(_no_cuda(available))
    if device == "cpu" or _CUDA not in available:
        return [_CPU]
    return [(_CUDA, {"use_tf32": "0"}), _CPU]


def _no_cuda(available: list[str]) -> str:
    return (
        f"cuda was requested, but ONNX Runtime has only {', '.join(available)} here; use --device cpu, or uninstall "
        "onnxruntime and install onnxruntime-gpu in its place"
    )


def _input(session: onnxruntime.InferenceSession) -> tuple[str, tuple[int, ...]]:
    """Check inputs and outputs of a model graph; return the input's name and the shape of one row.

    The shape is (columns,), (length, columns) or (channels, height, width).
    """
    inputs = [(tensor.name, tensor.type, len(tensor.shape)) for tensor in session.get_inputs()]
    outputs = {tensor.name: len(tensor.shape) for tensor in session.get_outputs()}
    known = {
        (INPUT, "tensor(double)", 2): OUTPUTS,
        (WINDOW, "tensor(double)", 3): OUTPUTS,
        (IMAGE_INPUT, "tensor(double)", 4): IMAGE_OUTPUTS,
    }
    if len(inputs) != 1 or inputs[0] not in known or not known[inputs[0]].items() <= outputs.items():
        raise BundleCorrupt(
            f"model.onnx is not the graph of a detector: {_signature(session)}; a detector takes {INPUT}[rows, columns], "
            f"{WINDOW}[windows, length, columns] or {IMAGE_INPUT}[images, channels, height, width] and returns "
            f"{', '.join(OUTPUTS)}"
        )
    tensor = session.get_inputs()[0]
    axes = tuple(tensor.shape[1:])
    if not all(isinstance(width, int) for width in axes):
        raise BundleCorrupt(f"model.onnx does not declare how many columns it takes; its input has width {axes[-1]!r}")
    return tensor.name, axes


def _signature(session: onnxruntime.InferenceSession) -> str:
    """Describe a graph's inputs and outputs with their shapes."""
    taken, returned = (
        ", ".join(f"{tensor.name}[{', '.join(map(str, tensor.shape))}]" for tensor in tensors) or "nothing"
        for tensors in (session.get_inputs(), session.get_outputs())
    )
    return f"it takes {taken} and returns {returned}"
