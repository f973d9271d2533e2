"""The training pipeline: a table or images of normal rows in, a bundle out.

    prepare -> layout -> fit -> calibrate -> manifest         `fit_detector`: a detector in torch
    export -> prove -> calibrate -> decoder, weights          `export_detector`: a bundle in memory
    write                                                     `train`: all of it, and the bundle on disk

The steps that depend on the kind of input are methods of `training.inputs.TrainingData`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import onnxruntime
import torch

from detector import bundle
from detector.decision import Calibration
from detector.errors import SettingError, TableError
from detector.graph import Device, Graph
from detector.manifest import Manifest
from detector.rejects import Reject
from detector.versioning import write_version
from training import export
from training.fit import Callbacks, PhaseCallback, ProgressCallback, history_csv, ignore_phase, ignore_progress, reproducible
from training.graph import DetectorGraph
from training.inputs import FittedDetector, Source, TrainingData, prepare
from training.kinds import ColumnCallback, ignore_columns
from training.manifest import build_manifest, summarize_training
from training.recipe import Recipe
from training.series.graph import SeriesGraph
from training.suspects import find_suspects, to_csv


class TrainedDetector(NamedTuple):
    """A detector that is trained and calibrated in torch; nothing is exported or proved yet."""

    manifest: Manifest
    fitted: FittedDetector
    calibration: Calibration
    data: TrainingData  # without training rows
    suspects: list[Reject]

    @property
    def graph(self) -> DetectorGraph | SeriesGraph:
        """The module that scores."""
        return self.fitted.graph

    @property
    def rejects(self) -> list[Reject]:
        """The rows that could not be read."""
        return self.data.rejects

    @property
    def lowered_from(self) -> float | None:
        """The requested or default false-alarm rate, if the rows cannot promise it."""
        return self.data.lowered_from


class UnsavedBundle(NamedTuple):
    """A bundle in memory."""

    manifest: Manifest
    contents: dict[str, bytes]


class TrainingResult(NamedTuple):
    """A bundle on disk, with the facts of its training that the manifest lacks."""

    folder: Path
    manifest: Manifest
    rejects: list[Reject]
    suspects: list[Reject]  # cells of training rows that are far from all others of their column
    infinite: int  # cells that hold an infinity, treated as missing
    lowered_from: float | None  # the requested or default false-alarm rate, if the rows cannot promise it
    ordered_by: str  # a date that orders the rows, though no option names it; "" if there is none


def train(
    source: Source,
    to: Path,
    recipe: Recipe,
    on_progress: ProgressCallback = ignore_progress,
    on_column: ColumnCallback = ignore_columns,
    on_phase: PhaseCallback = ignore_phase,
) -> TrainingResult:
    """Train a detector on normal rows and write it as the next version under `to`.

    `on_column` receives the number of columns whose kind is inferred, and of all; then `on_progress` the steps of the fit;
    `on_phase` the name of each phase that begins.

    Raises:
        TableError, SettingError: as `fit_detector`.
        TrainingError: as `export_detector`.
        OutputError: the bundle cannot be written.
    """
    detector = fit_detector(source, recipe, on_progress, on_column, on_phase)
    on_phase("exporting")
    unsaved = export_detector(detector, recipe.device)
    on_phase("writing")
    folder, manifest = write_version(to, unsaved.manifest, unsaved.contents)
    return TrainingResult(
        folder,
        manifest,
        detector.rejects,
        detector.suspects,
        detector.data.infinite,
        detector.lowered_from,
        detector.data.ordered_by,
    )


def fit_detector(
    source: Source,
    recipe: Recipe,
    on_progress: ProgressCallback = ignore_progress,
    on_column: ColumnCallback = ignore_columns,
    on_phase: PhaseCallback = ignore_phase,
) -> TrainedDetector:
    """Train a detector on normal rows and calibrate it; the callbacks are those of `train`.

    Raises:
        TableError: the rows are too few, or all alike.
        SettingError: an option is invalid, or does not fit the table or this machine.
    """
    started = time.monotonic()
    recipe.check()
    device = torch_device(recipe.device)
    data = prepare(source, recipe, on_column)
    on_phase("preparing")
    layout = data.layout()
    if not layout.modelled:
        raise TableError("every column is constant in the training rows, so there is nothing to learn")
    suspects = find_suspects(data.encoded, layout) if data.encoded else []
    with reproducible(recipe.seed):
        fitted = data.fit_graph(layout, device, Callbacks(on_progress, on_phase))
    on_phase("calibrating")
    calibration = data.calibrate(fitted, lambda rows: export.torch_scores(fitted.graph, rows))
    seconds = time.monotonic() - started
    summary = summarize_training(recipe, data.row_counts(calibration), fitted.fit, device.type, seconds, data.folds)
    decision = data.decide(calibration)
    manifest = build_manifest(fitted.graph, recipe, data.settings, data.ignored, decision, summary)
    manifest = msgspec.structs.replace(manifest, **data.manifest_fields(fitted))
    return TrainedDetector(manifest, fitted, calibration, data.without_training_rows(), suspects)


def export_detector(detector: TrainedDetector, device: Device) -> UnsavedBundle:
    """Export a detector as ONNX, prove that the graphs equal the trained network, and calibrate by the exported one.

    Raises:
        TrainingError: an exported graph differs from the trained network.
    """
    graph, data = detector.graph, detector.data
    examples, devices = data.proof_examples(), proof_devices(device)
    parts = data.further_parts(detector.fitted)
    model, *further_graphs = export.to_accurate_onnx(graph, examples, list(parts.values()))
    served = Graph(model, "cpu")
    calibration = data.calibrate(detector.fitted, served.scores)
    decision = data.decide(calibration)
    parity = [export.prove(graph, model, examples, decision, each) for each in devices]
    further, further_parity = data.further_files(detector.fitted, served, dict(zip(parts, further_graphs, strict=True)), devices)
    manifest = msgspec.structs.replace(
        detector.manifest,
        decision=decision,
        parity=(*parity, *further_parity),
        settings=detector.manifest.settings | {"precision": graph.precision},
    )
    calibration_file = bundle.calibration_bytes(calibration)
    if detector.fitted.fit.history:
        further |= {bundle.HISTORY: history_csv(detector.fitted.fit)}
    if detector.suspects and data.recipe.suspects:
        further |= {bundle.SUSPECTS: to_csv(detector.suspects)}
    return UnsavedBundle(manifest, {bundle.MODEL: model, bundle.CALIBRATION: calibration_file, **further})


def torch_device(device: Device) -> torch.device:
    """Return torch's device.

    Raises:
        SettingError: CUDA was requested, but torch finds no such device.
    """
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise SettingError("cuda was requested, but torch finds no CUDA device here; use --device cpu")
    if has_cuda and device != "cpu":
        torch.backends.cuda.matmul.allow_tf32 = False
        return torch.device("cuda")
    return torch.device("cpu")


def proof_devices(device: Device) -> list[Device]:
    """Return the devices on which an exported graph is proved: the CPU, and CUDA where ONNX Runtime supports it."""
    cuda = device != "cpu" and torch.cuda.is_available() and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return ["cpu", "cuda"] if cuda else ["cpu"]
