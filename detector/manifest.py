"""The types of `manifest.json`, the description of a bundle.

It holds everything that is needed without opening the graph, and the record of training: the rows, the promise, and the
proof that the graph computes what the trained model does. `detector.bundle` reads and writes it. Field names are keys of
the file format.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from detector.alarm import AlarmRule
from detector.columns import Column
from detector.decision import Decision
from detector.images import ImageSpec
from detector.windows import Window

FORMAT = 1

Prior = Literal["normal", "uniform"]  # standard normal, or uniform between -1 and 1, in each latent


class IgnoredColumn(msgspec.Struct, frozen=True):
    """A column of the training table that the detector does not use, and the reason."""

    name: str
    reason: str


class ScoreInfo(msgspec.Struct, frozen=True):
    """The score: its name, its unit, and the terms that belong to no column."""

    name: str
    unit: str
    extra_terms: tuple[str, ...] = ()


class RowCounts(msgspec.Struct, frozen=True):
    """The number of rows in each part of the training table."""

    training: int
    validation: int
    calibration: int
    rejected: int = 0


class TrainingInfo(msgspec.Struct, frozen=True, kw_only=True):
    """How the detector was trained."""

    rows: RowCounts
    seed: int
    device: str
    steps: int
    best_step: int
    loss: float  # validation loss of the best step, nats per row
    seconds: float
    order: str  # "shuffled", or "by <column>"
    folds: int = 0  # parts of the rows that were held out in turn, so that all rows train and calibrate; 0: one split


class Parity(msgspec.Struct, frozen=True):
    """The proof that a graph computes what the model does: torch and ONNX Runtime compared on the calibration rows.

    The scores and verdicts of `model.onnx` are compared, the numbers (in standard deviations) and categories of
    `decoder.onnx`, and the probabilities and classes of `classifier.onnx` (on the labelled rows).
    """

    rows: int
    provider: str
    largest_difference: float  # relative to max(1, |value|)
    tolerance: float
    verdicts_that_differ: int  # or categories, outside the tolerance; 0 in every bundle
    nodes_on_cpu: int = 0  # nodes that a GPU provider left to the CPU
    file: str = "model.onnx"


class FileDigest(msgspec.Struct, frozen=True):
    """The size in bytes and SHA-256 of a file of the bundle."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `manifest.json`."""

    format: int
    name: str
    version: int
    parent: int | None
    created: str  # ISO 8601, UTC
    residuum: str  # the release that wrote the bundle
    variant: str
    settings: dict[str, str | int | float | bool]
    columns: tuple[Column, ...]
    ignored: tuple[IgnoredColumn, ...]
    missing: tuple[str, ...]  # additional words for a missing cell
    score: ScoreInfo
    decision: Decision
    training: TrainingInfo
    parity: tuple[Parity, ...]
    window: Window | None = None  # of a series: how rows become windows
    alarm: AlarmRule | None = None  # of a series: how scores become alarms
    prior: Prior | None = None  # the distribution of codes, to generate rows; None: training imposed none
    classes: tuple[str, ...] = ()  # of `classifier.onnx`, in its output order
    stored_rows: int = 0  # training rows that the bundle's memory holds as they are
    image: ImageSpec | None = None  # rows are images; for image files the JSON omits `columns`, which follow from this
    libraries: dict[str, str]
    files: dict[str, FileDigest]
