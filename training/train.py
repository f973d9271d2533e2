"""All of training, in order: a table of normal rows in, a bundle out.

kinds -> split -> vocabularies, layout -> fit -> whitening -> graph -> export -> calibration -> proof -> decoder -> bundle

`make` gives the bundle in memory, `train` writes it down.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import onnxruntime
import polars as pl
import torch

from detector import bundle, cells
from detector.columns import Column, encode
from detector.decision import Calibration
from detector.errors import SettingError, TableError
from detector.graph import Device, Graph
from detector.images import ImageSpec
from detector.manifest import IgnoredColumn, Manifest, RowCounts
from detector.rejects import Reject
from detector.versioning import write_version
from training import decoder, export, pixels, variants, weights
from training.decoder import DecoderGraph
from training.features import Cells, Features
from training.fit import Fit, ProgressCallback, fit, ignore_progress, one_thread
from training.graph import DetectorGraph
from training.image_model import graph_of, usual
from training.image_table import ImageTable, check_pixels, wishes_of_pixels
from training.kinds import Kinds, infer
from training.layout import Layout, build_layout, vocabularies
from training.manifest import describe, sum_up
from training.models import Autoencoder, Model
from training.pixels import Pixels, features_of
from training.recipe import Recipe, Table
from training.settings import ConvolutionalSettings
from training.split import DEFAULT_RATE, Split, split
from training.variants import Plan
from training.whitening import precision

MOST_AT_ONCE = 2**22  # cells that are scaled at a time


class TrainedDetector(NamedTuple):
    """A detector that is trained and calibrated, but lives in torch alone: no graph is exported, nothing is proved."""

    manifest: Manifest
    graph: DetectorGraph
    covariance: np.ndarray  # of residuals, as in `Learnt`
    calibrating: np.ndarray  # float64[calibration rows, columns]
    calibration: Calibration
    rejects: list[Reject]
    infinite: int  # cells that spelt an infinity, taken as missing
    lowered_from: float | None  # the rate that was asked for, or the default, where the rows could not promise it


class UnsavedBundle(NamedTuple):
    """A bundle that is not written yet."""

    manifest: Manifest
    contents: dict[str, bytes]


class TrainingResult(NamedTuple):
    """A bundle that was written, and what a summary says beside its manifest."""

    folder: Path
    manifest: Manifest
    rejects: list[Reject]
    infinite: int
    lowered_from: float | None


class Learnt(NamedTuple):
    """A fitted network: the graph that scores with it, how fitting went, and the covariance of its residuals."""

    graph: DetectorGraph
    fit: Fit
    covariance: np.ndarray  # float64[features, features], of point codes under a Gaussian likelihood


class Material(NamedTuple):
    """A table made ready: which columns to learn from, and the matrix of its rows."""

    columns: list[Column]
    ignored: list[IgnoredColumn]
    matrix: np.ndarray
    split: Split
    rejects: list[Reject]
    infinite: int
    image: ImageSpec | None = None


def train(table: Table | ImageTable, to: Path, recipe: Recipe, watch: ProgressCallback = ignore_progress) -> TrainingResult:
    """Train a detector on a table of normal rows and write it as the next version under `to`.

    Raises:
        TableError, SettingError: as `fit_detector`.
        TrainingError: as `export_detector`.
        OutputError: the bundle cannot be written.
    """
    if recipe.window is not None:
        if isinstance(table, ImageTable):
            raise SettingError("windows are of rows of a table, and these are images")
        from training.series.train import train as train_on_windows

        return train_on_windows(table, to, recipe, watch)
    made = fit_detector(table, recipe, watch)
    product = export_detector(made, recipe.device)
    folder, manifest = write_version(to, product.manifest, product.contents)
    return TrainingResult(folder, manifest, made.rejects, made.infinite, made.lowered_from)


def fit_detector(table: Table | ImageTable, recipe: Recipe, watch: ProgressCallback = ignore_progress) -> TrainedDetector:
    """Train a detector on a table of normal rows and calibrate it.

    Raises:
        TableError: the rows are too few, or all alike.
        SettingError: a seed, a wish, a rate, a variant or a device that cannot be honoured.
    """
    began = time.monotonic()
    recipe.check()
    plan = variants.plan(recipe.variant, recipe.settings)
    device = device_of(recipe.device)
    material = prepare_pictures(table, recipe) if isinstance(table, ImageTable) else prepare(table, recipe)
    layout = lay_out(material, plan)
    if not layout.modelled:
        raise TableError("every column is constant in the training rows, so there is nothing to learn")
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(recipe.seed)
        learnt = learn(layout, material, plan, recipe.seed, device, watch)
    calibrating = material.matrix[material.split.calibration]
    calibration = Calibration(export.torch_scores(learnt.graph, calibrating))
    summary = sum_up(recipe, _rows(material), learnt.fit, device.type, time.monotonic() - began)
    decision = calibration.decide(material.split.rate)
    manifest = describe(learnt.graph, recipe, plan.settings, material.ignored, decision, summary)
    manifest = msgspec.structs.replace(manifest, image=material.image, prior=decoder.prior_of(learnt.graph.score.model))
    asked = recipe.false_alarm_rate or DEFAULT_RATE
    lowered_from = asked if material.split.rate > asked else None
    return TrainedDetector(
        manifest, learnt.graph, learnt.covariance, calibrating, calibration, material.rejects, material.infinite, lowered_from
    )


def export_detector(made: TrainedDetector, device: Device) -> UnsavedBundle:
    """Export a detector as ONNX, prove that the graphs are the trained network, and calibrate by what will serve.

    Raises:
        TrainingError: an exported graph is not the trained network.
    """
    graph, manifest = made.graph, made.manifest
    model = export.proven(graph, made.calibrating)
    served = Graph(model, "cpu")
    calibration = Calibration(served.scores(made.calibrating))
    assert manifest.decision.false_alarm_rate is not None  # noqa: S101 - training always promises a rate
    decision = calibration.decide(manifest.decision.false_alarm_rate)
    provers = provers_of(device)
    parity = [export.prove(graph, model, made.calibrating, decision, one) for one in provers]
    back = DecoderGraph(graph, made.covariance)
    decoding = decoder.to_onnx(back)
    codes = served.latent(made.calibrating[: decoder.PROVED])
    parity += [decoder.prove(back, decoding, codes, manifest.training.seed, one) for one in provers]
    settings = manifest.settings | {"precision": graph.precision}
    contents = {
        bundle.MODEL: model,
        bundle.CALIBRATION: bundle.calibration_bytes(calibration),
        bundle.DECODER: decoding,
        bundle.WEIGHTS: weights.to_bytes(graph),
    }
    return UnsavedBundle(msgspec.structs.replace(manifest, decision=decision, parity=tuple(parity), settings=settings), contents)


def prepare(table: Table, recipe: Recipe) -> Material:
    """Find out kinds, leave out rows that cannot be read, split, and learn vocabularies from the training rows."""
    words = cells.missing_words(recipe.missing)
    wishes = wishes_of_pixels(table.frame, recipe.columns) if recipe.image else recipe.columns
    kinds: Kinds = infer(table.frame, wishes, words)
    if recipe.image:
        check_pixels(len(kinds.columns), recipe.image)
    first = encode(table.frame, kinds.columns, table.rows, missing=recipe.missing)
    frame = table.frame.filter(pl.Series(first.accepted))
    order = _order(frame, recipe.columns.time, words)
    rejects = table.located([*table.rejects, *first.rejects])
    try:
        parts = split(frame.height, recipe.false_alarm_rate, recipe.seed, order, lenient=recipe.lenient)
    except TableError as error:
        raise TableError(f"{error}{rejected(rejects, frame.height)}") from error
    columns, without = vocabularies(frame[np.sort(parts.training)], kinds.columns, words)
    if not columns:
        raise TableError("no column has a value in the training rows")
    if recipe.image:
        check_pixels(len(columns), recipe.image)
    encoded = encode(frame, columns, table.rows[first.accepted], missing=recipe.missing)
    return Material(columns, [*kinds.ignored, *without], encoded.matrix, parts, rejects, first.infinite, recipe.image)


def prepare_pictures(pictures: ImageTable, recipe: Recipe) -> Material:
    """Split images."""
    images = len(pictures.matrix)
    try:
        parts = split(images, recipe.false_alarm_rate, recipe.seed, None, lenient=recipe.lenient)
    except TableError as error:
        raise TableError(f"{error}{rejected(pictures.rejects, images)}") from error
    columns = list(pictures.image.columns())
    return Material(columns, [], pictures.matrix, parts, pictures.rejects, 0, pictures.image)


def lay_out(material: Material, plan: Plan) -> Layout:
    """Lay the columns out by the training rows."""
    training, scaled = material.matrix[material.split.training], plan.settings.likelihood == "gaussian"
    if material.image:
        light = plan.settings.light if isinstance(plan.settings, ConvolutionalSettings) else ""
        return pixels.arrange(training, material.columns, material.image, light=light, scaled=scaled)
    return build_layout(training, material.columns, scaled=scaled)


def rejected(rejects: list[Reject], rows: int) -> str:
    """Say how many rows were rejected beside those that could be used, and why the first one was; nothing if none was."""
    if not rejects:
        return ""
    first = rejects[0]
    where = f"{first.file} row {first.row}" if first.file else f"row {first.row}"
    return f"; {len(rejects)} of {len(rejects) + rows} rows were rejected, the first: {where}: {first}"


def _order(frame: pl.DataFrame, time_column: str | None, words: frozenset[str]) -> np.ndarray | None:
    """Give the rows' order in time, if they have one."""
    if time_column is None:
        return None
    parsed = cells.dates(frame[time_column], words)
    without = int(np.isnan(parsed.values).sum())
    if without:
        raise TableError(f"column {time_column!r} orders the rows, but {without} of {frame.height} have no date or number there")
    return np.argsort(parsed.values, kind="stable")


def learn(layout: Layout, material: Material, plan: Plan, seed: int, device: torch.device, watch: ProgressCallback) -> Learnt:
    """Fit the plan's network on a device and give the graph that scores with it, back on the CPU."""
    features = features_of(layout).to(device)
    model = plan.model(features).to(device)
    training = _cells(features, material.matrix[material.split.training], device)
    validation = _cells(features, material.matrix[material.split.validation], device)
    model.begin(training)
    fitted = fit(model, training, validation, plan.corruption(), seed, watch)
    whitener, covariance = _whitening(model, validation)
    score = plan.score(model, torch.from_numpy(whitener).to(device), seed)
    return Learnt(graph_of(features, score).cpu().eval(), fitted, covariance)


def _cells(features: Features, matrix: np.ndarray, device: torch.device) -> Cells:
    """Scale rows once, in float64, for all steps of training."""
    parts = []
    with torch.no_grad():
        for some in np.array_split(matrix, max(1, matrix.size // MOST_AT_ONCE)):
            scaled = features(torch.from_numpy(some.astype(np.float64, copy=False)).to(device))
            parts.append((scaled.values.float(), scaled.present, scaled.codes))
    return Cells(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _whitening(model: Model, validation: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Give what whitens a point autoencoder's residuals on validation rows, and their covariance (of pixels: variances)."""
    if not isinstance(model, Autoencoder) or model.bernoulli:
        nothing = np.zeros((0, 0))
        return nothing, nothing
    with torch.no_grad():
        few = [validation.take(rows) for rows in torch.arange(len(validation.present)).split(model.batch)]
        rebuilt = torch.cat([model.decode(model.encode(some)).mean for some in few])
        residual = (validation.values - rebuilt).double().cpu()
        present = model.features.presence(validation).double().cpu()
    if isinstance(model.features, Pixels):
        residual = residual * present
        return usual(residual.unflatten(1, model.features.image.shape)).numpy(), residual.square().mean(dim=0).numpy()
    whitener = precision(residual.numpy(), present.numpy())
    return whitener, np.linalg.inv(whitener)


def device_of(device: Device) -> torch.device:
    """Choose torch's device.

    Raises:
        SettingError: CUDA was asked for and torch finds none.
    """
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise SettingError("cuda was asked for, but torch finds no CUDA device here; use --device cpu")
    if there and device != "cpu":
        torch.backends.cuda.matmul.allow_tf32 = False
        return torch.device("cuda")
    return torch.device("cpu")


def provers_of(device: Device) -> list[Device]:
    """Say on which devices the graph must prove itself: always the CPU, and CUDA where it runs."""
    cuda = device != "cpu" and torch.cuda.is_available() and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return ["cpu", "cuda"] if cuda else ["cpu"]


def _rows(material: Material) -> RowCounts:
    """Count the rows of each part."""
    parts = material.split
    return RowCounts(len(parts.training), len(parts.validation), len(parts.calibration), len(material.rejects))
