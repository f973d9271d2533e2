"""What a bundle says of itself: `manifest.json`, typed.

Everything a door needs to know without opening the graph, and everything a person asks of a detector later: what it
learnt from, what was promised, what proved that the graph is the model. `detector.bundle` reads and writes it.
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

Prior = Literal["normal", "uniform"]  # standard normal, or even between -1 and 1, in each latent


class IgnoredColumn(msgspec.Struct, frozen=True):
    """A column of the training table that the detector leaves out, and why."""

    name: str
    reason: str


class ScoreInfo(msgspec.Struct, frozen=True):
    """What the score is: its name, its unit, and the terms beside the columns that add to it."""

    name: str
    unit: str
    extra_terms: tuple[str, ...] = ()


class RowCounts(msgspec.Struct, frozen=True):
    """How many rows each part of training had."""

    training: int
    validation: int
    calibration: int
    rejected: int = 0


class TrainingInfo(msgspec.Struct, frozen=True, kw_only=True):
    """How the detector came to be."""

    rows: RowCounts
    seed: int
    device: str
    steps: int
    best_step: int
    loss: float  # validation loss of the best step, nats a row
    seconds: float
    order: str  # "shuffled", or "by <column>"


class Parity(msgspec.Struct, frozen=True):
    """The proof that a graph is the model: torch against ONNX Runtime on the calibration rows.

    `model.onnx` is held to its scores and verdicts, `decoder.onnx` to its numbers (in standard deviations) and
    categories, `classifier.onnx` to its probabilities and classes (on the labelled rows).
    """

    rows: int
    provider: str
    largest_difference: float  # relative to max(1, |value|)
    tolerance: float
    verdicts_that_differ: int  # or categories; outside the tolerance; 0 in any bundle
    nodes_on_cpu: int = 0  # nodes that fell back to the CPU where the provider is a GPU
    file: str = "model.onnx"


class FileDigest(msgspec.Struct, frozen=True):
    """A file of the bundle: its size in bytes and SHA-256."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of `manifest.json`."""

    format: int
    name: str
    version: int
    parent: int | None
    created: str  # ISO 8601, UTC
    residuum: str  # the release that wrote it
    variant: str
    settings: dict[str, str | int | float | bool]
    columns: tuple[Column, ...]
    ignored: tuple[IgnoredColumn, ...]
    missing: tuple[str, ...]  # extra words for a missing cell
    score: ScoreInfo
    decision: Decision
    training: TrainingInfo
    parity: tuple[Parity, ...]
    window: Window | None = None  # of a detector that judges windows of a series: how rows become these ...
    alarm: AlarmRule | None = None  # ... and how their scores become an alarm
    prior: Prior | None = None  # what codes are drawn from to generate rows; None: nobody shaped them
    classes: tuple[str, ...] = ()  # of `classifier.onnx`, in its order
    image: ImageSpec | None = None  # rows are images; of files, `columns` are left out of the JSON: the image names them
    libraries: dict[str, str]
    files: dict[str, FileDigest]
