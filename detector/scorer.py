"""The whole scoring path: a frame in, verdicts out.

    frame -> `columns.encode` -> matrix -> `graph` -> score, contribution, expected -> `decision` -> verdict -> `reasons`

Every door (files, HTTP, streams, Python) calls `Scorer.score` and nothing else, so a row gets the same verdict everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from detector import bundle, reasons, repository
from detector.bundle import Bundle
from detector.classifier import Classes, Classifier
from detector.columns import Column, Encoded, encode
from detector.decision import Standing
from detector.errors import BundleCorrupt
from detector.graph import Device, Graph, Outputs
from detector.reasons import Explain
from detector.rejects import Reject

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
    classes: Classes | None = None  # where the bundle has a classifier


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
        self.classifier = Classifier(opened, device) if bundle.CLASSIFIER in opened.further else None

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
    def standing(self) -> Standing:
        """Where the threshold stands among the calibration scores."""
        return self.calibration.standing(self.manifest.decision.threshold)

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
        numbered = np.arange(frame.height) if rows is None else rows
        encoded = self.encode(frame, numbered, file=file)
        return self.judge(encoded, accepted_of(frame, encoded), explain=explain, top=top)

    def encode(self, frame: pl.DataFrame, rows: np.ndarray, *, file: str = "") -> Encoded:
        """Turn a frame into the matrix that `judge` takes.

        Raises:
            TableError: the frame lacks a column.
        """
        return encode(frame, self.columns, rows, file=file, missing=self.manifest.missing)

    def judge(self, encoded: Encoded, cells: Cells, *, explain: Explain = "anomalies", top: int = 3) -> Verdicts:
        """Judge rows that are encoded already; `cells` gives those that reasons tell of. For the rest see `score`."""
        verdicts, explained = self.verdicts(encoded, explain)
        return verdicts._replace(reasons=self._reasons(explained, cells, top))

    def verdicts(self, encoded: Encoded, explain: Explain) -> tuple[Verdicts, Explained]:
        """Judge rows that are encoded already; gives the verdicts without reasons, and of what reasons are to be made."""
        outputs = self._outputs(encoded.matrix, explain)
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
        chosen, extra = explained.rows, self.manifest.score.extra_terms
        ranked = reasons.rank(cells(at), chosen, explained.outputs, self.columns, extra, top)
        return ranked.replace_column(ranked.get_column_index("at"), pl.Series("at", at[ranked["at"].to_numpy()]))


def accepted_of(frame: pl.DataFrame, encoded: Encoded) -> Cells:
    """Give accepted rows of a frame by their positions."""
    return lambda at: frame if len(at) == frame.height else frame[np.flatnonzero(encoded.accepted)[at]]
