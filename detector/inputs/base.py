"""What every input does, and the session that scores rows one by one."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl

from detector.batch import Batch, Rows
from detector.classifier import Classifier
from detector.columns import Encoded
from detector.decision import Calibration, Decision
from detector.graph import Graph, Outputs
from detector.manifest import Manifest
from detector.reasons import NO_REASONS, Explain, Reasons
from detector.verdicts import Verdicts


class Engine(NamedTuple):
    """What scores encoded rows: an opened graph, and what decides about its scores."""

    manifest: Manifest
    graph: Graph
    calibration: Calibration
    classifier: Classifier | None


class Explained(NamedTuple):
    """The rows that are to be explained."""

    at: np.ndarray  # int64, their positions among the accepted rows
    matrix: np.ndarray  # float64[accepted rows, columns]
    outputs: Outputs  # of these rows only

    @property
    def rows(self) -> np.ndarray:
        """These rows only, `float64[rows, columns]`."""
        return self.matrix if len(self.at) == len(self.matrix) else self.matrix[self.at]


class Session(Protocol):
    """Scores the batches of one table or stream, one after the other."""

    def score(self, batch: Batch, *, explain: Explain = "anomalies", top: int = 3) -> Verdicts:
        """Return the verdicts on a batch; `explain` says which rows get reasons, `top` how many at most.

        Raises:
            TableError: the batch lacks a column.
        """


class Encoder(Protocol):
    """Turns batches into what the graph takes, and explains its scores."""

    def encode(self, batch: Batch) -> Encoded:
        """Return `float64[accepted rows, columns]`, and the rows that were rejected.

        Raises:
            TableError: the batch lacks a column.
        """

    def explain(self, batch: Batch, encoded: Encoded, explained: Explained, top: int) -> Reasons:
        """Return up to `top` reasons for each row that is to be explained."""


class Input(Encoder, Protocol):
    """What a detector takes."""

    noun: str  # what one verdict is about: "row" or "image"
    promise_noun: str  # what a false-alarm rate is a share of: "row", "stretch" or "image"
    reads_files: bool  # whether an item is a file of its own

    @property
    def required(self) -> tuple[str, ...]:
        """The columns that a table must have, in order."""

    @property
    def numbers(self) -> Collection[str]:
        """Those of them that hold numbers."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one item as the graph takes it."""

    @property
    def description(self) -> str:
        """What the graph takes, for messages."""

    def session(self, engine: Engine, max_keys: int, key: str | None = None) -> Session:
        """Start scoring a table or a stream; of a series at most `max_keys` keys are kept, or only one, `key`."""

    def decide(self, calibration: Calibration, rate: float) -> Decision:
        """Return the decision that promises a false-alarm rate.

        Raises:
            SettingError: the calibration scores cannot promise it.
        """

    def examples(self, rows: np.ndarray, count: int) -> np.ndarray:
        """Arrange `float64[rows, columns]` as up to `count` items for the graph."""


class RowSession:
    """Scores rows one by one, so that it needs no memory of earlier ones."""

    def __init__(self, engine: Engine, encoder: Encoder) -> None:
        """Score with an engine what an encoder encodes."""
        self._engine = engine
        self._encoder = encoder

    def score(self, batch: Batch, *, explain: Explain = "anomalies", top: int = 3) -> Verdicts:
        """Return the verdicts on a batch."""
        engine = self._engine
        encoded = self._encoder.encode(batch)
        outputs = self._outputs(encoded.matrix, explain)
        is_anomaly = engine.manifest.decision.is_anomaly(outputs.score) if outputs.wanted is None else outputs.wanted
        reasons: Reasons = NO_REASONS
        if top > 0 and len(outputs.contribution):  # only rows that are to be explained have one
            at = np.arange(len(is_anomaly)) if explain == "all" else is_anomaly.nonzero()[0]
            reasons = self._encoder.explain(batch, encoded, Explained(at, encoded.matrix, outputs), top)
        return Verdicts(
            rows=accepted_rows(batch.rows, encoded),
            score=outputs.score,
            p_value=engine.calibration.p_values(outputs.score),
            is_anomaly=is_anomaly,
            reasons=reasons,
            accepted=encoded.accepted,
            rejects=[*batch.rejects, *encoded.rejects] if batch.rejects else encoded.rejects,
            infinite=encoded.infinite,
            matrix=encoded.matrix,
            classes=engine.classifier.classify(encoded.matrix) if engine.classifier else None,
            differences=batch.differences,
        )

    def _outputs(self, matrix: np.ndarray, explain: Explain) -> Outputs:
        """Run the graph; contribution and expected hold only the rows that are to be explained."""
        match explain:
            case "all":
                return self._engine.graph.explain(matrix)
            case "anomalies":
                return self._engine.graph.explain(matrix, self._engine.manifest.decision.is_anomaly)
            case "none":
                nothing = np.empty((0, 0))
                return Outputs(self._engine.graph.scores(matrix), nothing, nothing)


def accepted_rows(rows: Rows, encoded: Encoded) -> Rows:
    """Return the numbers of the rows that were encoded."""
    return rows if not encoded.rejects else np.asarray(rows, np.int64)[encoded.accepted]


def accepted_frame(frame: pl.DataFrame, encoded: Encoded, at: np.ndarray) -> pl.DataFrame:
    """Return some of the accepted rows of a table, by their positions."""
    return frame if len(at) == frame.height else frame[np.flatnonzero(encoded.accepted)[at]]


def placed_at(reasons: pl.DataFrame, at: np.ndarray) -> pl.DataFrame:
    """Return reasons of some rows with the positions that these rows have among all."""
    return reasons.replace_column(reasons.get_column_index("at"), pl.Series("at", at[reasons["at"].to_numpy()]))
