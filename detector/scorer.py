"""The whole scoring path: a frame in, verdicts out.

    frame -> `columns.encode` -> matrix -> `graph` -> score, contribution, expected -> `decision` -> verdict -> `reasons`

Every door (files, HTTP, streams, Python) calls `Scorer.score` and nothing else, so a row gets the same verdict everywhere.
A door whose table comes in parts asks a `Scorer.session`: where rows are judged by what came before them, it remembers
(`detector.series`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from detector import bundle, image_reasons, reasons, repository
from detector.bundle import Bundle
from detector.classifier import Classifier, ClassPredictions
from detector.columns import Column, Encoded, encode
from detector.decision import CalibrationCounts, Decision
from detector.errors import BundleCorrupt, SettingError
from detector.graph import Device, Graph, Outputs
from detector.images import ImageSize, ImageSpec
from detector.manifest import Manifest
from detector.reasons import Explain
from detector.rejects import Reject
from detector.windows import MOST_KEYS

if TYPE_CHECKING:
    from detector.series import Series

Cells = Callable[[np.ndarray], pl.DataFrame]  # positions among the accepted rows -> these rows of the table
NOWHERE = np.empty(0, np.int64)
NO_REASONS = pl.DataFrame(schema=reasons.SCHEMA)


class Verdicts(NamedTuple):
    """What the detector says of a frame; all arrays speak of its accepted rows, in order."""

    score: np.ndarray  # float64[accepted rows], nats
    p_value: np.ndarray  # float64[accepted rows]
    is_anomaly: np.ndarray  # bool[accepted rows]
    reasons: pl.DataFrame  # `reasons.SCHEMA`, for the rows that were to be explained
    accepted: np.ndarray  # bool[rows of the frame]
    rejects: list[Reject]
    infinite: int  # cells that spelt an infinity, taken as missing
    classes: ClassPredictions | None = None  # where the bundle has a classifier
    fates: np.ndarray | None = None  # of a series, int8[accepted rows]: `detector.windows.FATES`; only the judged have a score
    alarms: int = 0  # of a series: how many began

    @property
    def scored(self) -> np.ndarray:
        """Tell which of the accepted rows have a score, `bool[accepted rows]`: all but some of a series."""
        return ~np.isnan(self.score) if self.fates is not None else np.ones(len(self.score), dtype=bool)


class Explained(NamedTuple):
    """The rows that are to be explained."""

    at: np.ndarray  # int64, their positions among the accepted rows
    matrix: np.ndarray  # float64[accepted rows, columns]
    outputs: Outputs  # of these rows alone

    @property
    def rows(self) -> np.ndarray:
        """These rows alone, `float64[rows, columns]`."""
        return self.matrix if len(self.at) == len(self.matrix) else self.matrix[self.at]


class Scorer:
    """A bundle that is open for scoring."""

    def __init__(self, opened: Bundle, device: Device = "auto", graph: Graph | None = None) -> None:
        """Open a verified bundle's graph, or take one that is open.

        Raises:
            SettingError: the device is not there.
            BundleCorrupt: the graph is not the one the manifest speaks of.
        """
        self.folder = opened.folder
        self.manifest = opened.manifest
        self.calibration = opened.calibration
        self.graph = graph or Graph(opened.model, device)
        if self.graph.columns != len(self.columns):
            raise BundleCorrupt(
                f"{opened.folder / bundle.MODEL} takes {self.graph.columns} columns, the manifest lists {len(self.columns)}"
            )
        axes, what = _shape(self.manifest)
        if self.graph.axes != axes:
            raise BundleCorrupt(
                f"{opened.folder / bundle.MODEL} takes rows of shape {list(self.graph.axes)}, the manifest speaks of {what}"
            )
        self.classifier = Classifier(opened, device) if bundle.CLASSIFIER in opened.extra_files else None

    @classmethod
    def open(cls, path: Path, device: Device = "auto") -> Scorer:
        """Open the version that `path` means: a name's folder or one version's.

        Raises:
            BundleError: there is none that can be trusted.
            SettingError: the device is not there.
        """
        return cls(bundle.read(repository.find(path)), device)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that the detector reads, in the order of its matrix."""
        return self.manifest.columns

    @property
    def calibration_counts(self) -> CalibrationCounts:
        """Where the threshold stands among the calibration scores."""
        return self.calibration.counts(self.manifest.decision.threshold)

    def decide(self, rate: float) -> Decision:
        """Give the decision that promises a false-alarm rate: of rows, or of stretches of a series.

        Raises:
            SettingError: what calibrated the bundle cannot promise it.
        """
        window = self.manifest.window
        return self.calibration.decide_stretches(rate, window.length) if window else self.calibration.decide(rate)

    def session(self, most_keys: int = MOST_KEYS) -> Scorer | Series:
        """Give what judges the parts of one table, one after the other; of a series it remembers so many keys at most."""
        return self if self.manifest.window is None else self.series(most_keys)

    def series(self, most_keys: int = MOST_KEYS, *, key: str | None = None) -> Series:
        """Begin a run over a series; with a `key` over that one alone, whose rows need not name it.

        Raises:
            SettingError: rows are judged one by one.
        """
        window, alarm = self.manifest.window, self.manifest.alarm
        if window is None or alarm is None:
            raise SettingError(f"{self.folder} judges single rows, and no series")
        from detector.series import Series

        return Series(self, window, alarm, most_keys, key=key)

    def only_rows(self, what: str) -> Scorer:
        """Give itself, where rows are judged one by one; `what` names what is done with them.

        Raises:
            SettingError: windows of a series are judged.
        """
        if self.manifest.window is not None:
            raise SettingError(
                f"{self.folder} judges windows of {self.manifest.window.length} rows, and {what} takes single rows; `residuum "
                "score` and `residuum evaluate` work on series, and so does `residuum.load(...).score`"
            )
        return self

    def score(
        self,
        frame: pl.DataFrame,
        rows: np.ndarray | None = None,
        *,
        file: str = "",
        explain: Explain = "anomalies",
        top: int = 3,
    ) -> Verdicts:
        """Judge every row of a frame.

        `rows` numbers the frame's rows for rejects (default: from 0), `explain` says which rows get reasons and `top`
        how many at most.

        Raises:
            TableError: the frame lacks a column.
        """
        session = self.session()
        if session is not self:
            return session.score(frame, rows, file=file, explain=explain, top=top)
        numbered = np.arange(frame.height) if rows is None else rows
        encoded = self.encode(frame, numbered, file=file)
        return self.judge(encoded, accepted_of(frame, encoded), explain=explain, top=top)

    def encode(self, frame: pl.DataFrame, rows: np.ndarray, *, file: str = "") -> Encoded:
        """Turn a frame into the matrix that `judge` takes.

        Raises:
            TableError: the frame lacks a column.
        """
        return encode(frame, self.columns, rows, file=file, missing=self.manifest.missing)

    def judge(
        self,
        encoded: Encoded,
        cells: Cells,
        *,
        explain: Explain = "anomalies",
        top: int = 3,
        outputs: Outputs | None = None,
    ) -> Verdicts:
        """Judge rows that are encoded already; `cells` gives those that reasons tell of. For the rest see `score`.

        `outputs` is what the graph says of all of them, where it was asked already.
        """
        verdicts, explained = self.verdicts(encoded, explain, outputs)
        return verdicts._replace(reasons=self._reasons(explained, cells, top))

    def verdicts(self, encoded: Encoded, explain: Explain, whole: Outputs | None = None) -> tuple[Verdicts, Explained]:
        """Judge rows that are encoded already; gives the verdicts without reasons, and of what reasons are to be made."""
        outputs = whole or self._outputs(encoded.matrix, explain)
        is_anomaly = self.manifest.decision.is_anomaly(outputs.score) if outputs.wanted is None else outputs.wanted
        verdicts = Verdicts(
            score=outputs.score,
            p_value=self.calibration.p_values(outputs.score),
            is_anomaly=is_anomaly,
            reasons=NO_REASONS,
            accepted=encoded.accepted,
            rejects=encoded.rejects,
            infinite=encoded.infinite,
            classes=self.classifier.classify(encoded.matrix) if self.classifier else None,
        )
        match explain:
            case "all":
                at = np.arange(len(is_anomaly))
            case "anomalies":
                at = is_anomaly.nonzero()[0] if len(outputs.contribution) else NOWHERE
            case "none":
                at = NOWHERE
        if whole:
            outputs = Outputs(whole.score, whole.contribution[at], whole.expected[at])
        return verdicts, Explained(at, encoded.matrix, outputs)

    def _outputs(self, matrix: np.ndarray, explain: Explain) -> Outputs:
        """Run the graph for as much as is needed: contribution and expected hold the rows that are to be explained."""
        match explain:
            case "all":
                return self.graph.explain(matrix)
            case "anomalies":
                return self.graph.explain(matrix, self.manifest.decision.is_anomaly)
            case "none":
                nothing = np.empty((0, 0))
                return Outputs(self.graph.scores(matrix), nothing, nothing)

    def _reasons(self, explained: Explained, cells: Cells, top: int) -> pl.DataFrame:
        """Tell the reasons of rows as a table."""
        at = explained.at
        if not len(at) or top < 1:
            return NO_REASONS
        chosen, outputs, extra = explained.rows, explained.outputs, self.manifest.score.extra_terms
        if image := self.manifest.image:
            ranked = image_reasons.rank(chosen, outputs, image, _originals(cells(at), image, len(at)), top)
        else:
            ranked = reasons.rank(cells(at), chosen, outputs, self.columns, extra, top)
        return ranked.replace_column(ranked.get_column_index("at"), pl.Series("at", at[ranked["at"].to_numpy()]))


def _shape(manifest: Manifest) -> tuple[tuple[int, ...], str]:
    """Give the shape of what a detector's graph judges, and its name."""
    columns = len(manifest.columns)
    if manifest.image:
        return manifest.image.shape, f"images of {manifest.image.size} pixels"
    if manifest.window:
        return (manifest.window.length, columns), f"windows of {manifest.window.length} rows"
    return (columns,), "single rows"


def accepted_of(frame: pl.DataFrame, encoded: Encoded) -> Cells:
    """Give accepted rows of a frame by their positions."""
    return lambda at: frame if len(at) == frame.height else frame[np.flatnonzero(encoded.accepted)[at]]


def _originals(frame: pl.DataFrame, image: ImageSpec, images: int) -> list[ImageSize]:
    """Give how large images were before they were resized; those of a table's rows never were."""
    if image.files and "width" in frame.columns and "height" in frame.columns:
        return [ImageSize(*each) for each in frame.select("width", "height").iter_rows()]
    return [image.size] * images
