"""The ONNX graph: `float64[rows, columns]` in; score, contribution, expected and latent out.

The graph of a series takes windows, `float64[windows, time, columns]`, and speaks of each window's newest row. A graph of
images takes the same numbers as `float64[rows, channels, height, width]`; its contribution is a map, `[rows, height, width]`.
Here images and maps have their axes behind the rows flattened.

The graph is the whole computation, so nothing here does mathematics: it opens the session on the right device, checks
that the graph is the one the manifest speaks of, and feeds it in batches that fit the processor's cache.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import onnxruntime

from detector.errors import BundleCorrupt, SettingError

Device = Literal["auto", "cpu", "cuda"]

INPUT = "row"
WINDOW = "window"  # the input of a series' graph
OUTPUTS = {"score": 1, "contribution": 2, "expected": 2, "latent": 2}  # and their number of axes
IMAGE_INPUT = "image"
IMAGE_OUTPUTS = {"score": 1, "contribution": 3, "expected": 4, "latent": 2}
BATCH = 2048
IMAGE_BATCH = 2**18  # values of a batch of images: what lies between layers is many times as large
WINDOW_BATCH = 2**16  # cells of a batch of windows: what fits the cache
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


Wanted = Callable[[np.ndarray], np.ndarray]  # scores -> whether each row is to be explained


class GraphSession(Protocol):
    """What runs a graph: ONNX Runtime's session, or what stands in for it."""

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray], /) -> list[np.ndarray]:
        """Give some of the outputs by name for the inputs by name."""


class Outputs(NamedTuple):
    """What the graph says of rows; contribution and expected may hold those alone that are to be explained."""

    score: np.ndarray  # float64[rows], nats
    contribution: np.ndarray  # float64[rows, columns + extra terms], of images [rows, positions]; a row's sum is its score
    expected: np.ndarray  # float64[rows, columns], in the user's units; a category as its code
    wanted: np.ndarray | None = None  # bool[rows], whether each row was to be explained, where not all were


class Graph:
    """An opened ONNX graph. Safe to use from several threads."""

    def __init__(self, model: bytes, device: Device = "auto") -> None:
        """Open the graph.

        Raises:
            SettingError: the device was asked for and is not there.
            BundleCorrupt: the bytes are no graph of a detector.
        """
        session = open_session(model, device, "model.onnx")
        self._session: GraphSession = session
        self.provider: str = session.get_providers()[0]
        self._input, self.axes = _input(session)
        self.nodes_on_cpu = nodes_on_cpu(session)  # that a GPU's provider left to the CPU; 0 where the CPU was chosen

    @property
    def columns(self) -> int:
        """How many columns of a table, or values of an image, a row is read from."""
        return self.axes[-1] if self._input == WINDOW else math.prod(self.axes)

    @property
    def _batch(self) -> int:
        """How many rows to run at once."""
        values = {WINDOW: WINDOW_BATCH, IMAGE_INPUT: IMAGE_BATCH}.get(self._input)
        return max(1, values // math.prod(self.axes)) if values else BATCH

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """The device that runs the graph: `cpu` or `cuda`."""
        return "cuda" if self.provider == _CUDA else "cpu"

    def scores(self, matrix: np.ndarray) -> np.ndarray:
        """Score `float64[rows, columns]`: `float64[rows]`."""
        return self._run(matrix, ["score"])[0]

    def explain(self, matrix: np.ndarray, wanted: Wanted | None = None) -> Outputs:
        """Score `float64[rows, columns]` and say why.

        `wanted` tells from the scores of some rows, `float64[rows]`, which of them are to be explained, `bool[rows]`;
        contribution and expected then hold these rows alone.
        """
        return Outputs(*self._run(matrix, ["score", "contribution", "expected"], wanted))

    def latent(self, matrix: np.ndarray) -> np.ndarray:
        """Give the code of each row: `float32[rows, latent size]`."""
        return self._run(matrix, ["latent"])[0]

    def _run(self, matrix: np.ndarray, outputs: list[str], wanted: Wanted | None = None) -> list[np.ndarray]:
        """Run the graph over batches and join what comes out; `wanted` as in `explain`."""
        if self._input != IMAGE_INPUT:
            return run_batches(self._session, outputs, {self._input: matrix}, wanted, self._batch)
        images = {IMAGE_INPUT: matrix.reshape(len(matrix), *self.axes)}
        found = run_batches(self._session, outputs, images, wanted, self._batch)
        return [part.reshape(len(part), int(np.prod(part.shape[1:]))) if part.ndim > 1 else part for part in found]


def run_batches(
    session: GraphSession, outputs: list[str], inputs: dict[str, np.ndarray], wanted: Wanted | None = None, batch: int = BATCH
) -> list[np.ndarray]:
    """Run a graph on inputs of as many rows, as float64, a batch at a time.

    `wanted` tells from the first output of some rows which of them the other outputs are to be kept of; what it said comes last.
    """
    rows = len(next(iter(inputs.values())))
    if not rows:  # graphs need not cope with batches of no rows
        one = {name: np.zeros((1, *values.shape[1:])) for name, values in inputs.items()}
        return [part[:0] for part in session.run(outputs, one)]
    parts = [
        _run(
            session,
            outputs,
            {name: np.ascontiguousarray(each[at : at + batch], dtype=np.float64) for name, each in inputs.items()},
            wanted,
        )
        for at in range(0, rows, batch)
    ]
    return parts[0] if len(parts) == 1 else [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]


def _run(session: GraphSession, outputs: list[str], inputs: dict[str, np.ndarray], wanted: Wanted | None) -> list[np.ndarray]:
    """Run a graph on one batch; joining what nobody asked for would take a fifth as long as the graph itself."""
    first, *rest = session.run(outputs, inputs)
    if not wanted:
        return [first, *rest]
    some = wanted(first)
    rest = [part[some] for part in rest] if np.count_nonzero(some) else [part[:0] for part in rest]
    return [first, *rest, some]


def _providers(device: Device) -> list[Any]:
    """Choose ONNX Runtime's providers for a device."""
    there = onnxruntime.get_available_providers()
    if device == "cuda" and _CUDA not in there:
        raise SettingError(_no_cuda(there))
    if device == "cpu" or _CUDA not in there:
        return [_CPU]
    return [(_CUDA, {"use_tf32": "0"}), _CPU]


def _no_cuda(there: list[str]) -> str:
    """Say that CUDA is not to be had, and what is."""
    return (
        f"cuda was asked for, but ONNX Runtime has {', '.join(there)} here; use --device cpu, or uninstall "
        "onnxruntime and install onnxruntime-gpu in its place"
    )


def open_session(model: bytes, device: Device, file: str) -> onnxruntime.InferenceSession:
    """Open a session on a bundle's graph; one thread, because small networks lose more to synchronisation than they win.

    Raises:
        SettingError: the device was asked for and is not there.
        BundleCorrupt: the bytes are no graph; `file` says whose bytes.
    """
    providers = _providers(device)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Weights outside the file would be read from wherever the process stands: send the search where no file can be.
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
    """Count the nodes that a GPU's provider left to the CPU; 0 where the CPU was chosen."""
    if session.get_providers()[0] == _CPU:
        return 0
    assigned = session.get_provider_graph_assignment_info()
    return sum(len(part.get_nodes()) for part in assigned if part.ep_name == _CPU)


def _input(session: onnxruntime.InferenceSession) -> tuple[str, tuple[int, ...]]:
    """Check inputs and outputs of the graph; give its input's name and the shape of one row.

    That is (columns,), (time, columns) or (channels, height, width).
    """
    inputs = [(one.name, one.type, len(one.shape)) for one in session.get_inputs()]
    outputs = {one.name: len(one.shape) for one in session.get_outputs()}
    known = {
        (INPUT, "tensor(double)", 2): OUTPUTS,
        (WINDOW, "tensor(double)", 3): OUTPUTS,
        (IMAGE_INPUT, "tensor(double)", 4): IMAGE_OUTPUTS,
    }
    if len(inputs) != 1 or inputs[0] not in known or not known[inputs[0]].items() <= outputs.items():
        raise BundleCorrupt(
            f"model.onnx is no graph of a detector: it takes {describe_tensors(session.get_inputs())} and gives "
            f"{describe_tensors(session.get_outputs())}; a detector takes {INPUT}[rows, columns] or "
            f"{WINDOW}[windows, time, columns] and gives {', '.join(OUTPUTS)}"
        )
    taken = session.get_inputs()[0]
    axes = tuple(taken.shape[1:])
    if not all(isinstance(width, int) for width in axes):
        raise BundleCorrupt(f"model.onnx does not say how many columns it takes; its input has width {axes[-1]!r}")
    return taken.name, axes


def describe_tensors(values: list[Any]) -> str:
    """Name inputs or outputs with their shapes."""
    return ", ".join(f"{one.name}[{', '.join(map(str, one.shape))}]" for one in values) or "nothing"
