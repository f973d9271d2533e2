"""The scoring path: a batch in, verdicts out.

    batch -> `inputs` -> matrix -> `graph` -> score, contribution, expected -> `decision` -> verdicts -> `reasons`

Files, HTTP, streams and Python all call a session of the scorer, so a row gets the same verdict from each of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from detector import bundle, repository
from detector.batch import TableBatch
from detector.bundle import Bundle
from detector.classifier import Classifier
from detector.columns import Column
from detector.decision import CalibrationCounts, Decision
from detector.errors import BundleCorrupt, SettingError
from detector.graph import Device, Graph
from detector.inputs import Engine, SeriesInput, SeriesSession, Session, input_of
from detector.reasons import Explain
from detector.verdicts import Verdicts
from detector.windows import MAX_KEYS


class Scorer:
    """A bundle that is open for scoring."""

    def __init__(self, opened: Bundle, device: Device = "auto", graph: Graph | None = None) -> None:
        """Open a verified bundle's graph, or take an opened one.

        Raises:
            SettingError: the device is not available.
            BundleCorrupt: the graph is not the one that the manifest describes.
        """
        self.folder = opened.folder
        self.manifest = opened.manifest
        self.calibration = opened.calibration
        self.learning_curve = {name: content for name, content in opened.extra_files.items() if name == bundle.HISTORY}
        self.input = input_of(opened.manifest)
        self.graph = graph or Graph(opened.model, device)
        self._check_graph()
        self.classifier = Classifier(opened, device) if bundle.CLASSIFIER in opened.extra_files else None
        self._engine = Engine(self.manifest, self.graph, self.calibration, self.classifier)

    @classmethod
    def open(cls, path: Path, device: Device = "auto") -> Scorer:
        """Open the version that `path` means: a name's folder or one version's.

        Raises:
            BundleError: there is none that can be trusted.
            SettingError: the device is not available.
        """
        return cls(bundle.read(repository.find(path)), device)

    @property
    def source(self) -> str:
        """Where the detector is."""
        return str(self.folder)

    @property
    def device(self) -> str:
        """Where the graph runs."""
        return self.graph.device

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that the detector reads, in the order of its matrix."""
        return self.manifest.columns

    @property
    def calibration_counts(self) -> CalibrationCounts:
        """How many calibration scores there are, and how many above the threshold."""
        return self.calibration.counts(self.manifest.decision.threshold)

    def decide(self, rate: float) -> Decision:
        """Return the decision that promises a false-alarm rate: of rows, or of stretches of a series.

        Raises:
            SettingError: the calibration scores cannot promise it.
        """
        return self.input.decide(self.calibration, rate)

    def session(self, max_keys: int = MAX_KEYS) -> Session:
        """Return a session for scoring a table in batches; of series it keeps at most `max_keys` keys."""
        return self.input.session(self._engine, max_keys)

    def series(self, max_keys: int = MAX_KEYS, *, key: str | None = None) -> SeriesSession:
        """Return a session for series; with a `key` for that one alone, whose rows need not name it.

        Raises:
            SettingError: the detector scores rows one by one.
        """
        if not isinstance(self.input, SeriesInput):
            raise SettingError(f"{self.folder} scores single rows, not series")
        return cast("SeriesSession", self.input.session(self._engine, max_keys, key))

    def only_rows(self, command: str) -> Scorer:
        """Return itself if rows are scored one by one; `command` names what needs that.

        Raises:
            SettingError: the detector scores windows of a series.
        """
        if isinstance(self.input, SeriesInput):
            raise SettingError(
                f"{self.folder} scores {self.input.description}, and {command} takes single rows; `residuum score`, "
                "`residuum evaluate` and `residuum.load(...).score` work on series"
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
        """Score every row of a frame, in a session of its own.

        `rows` numbers the frame's rows for rejects (default: from 0), `explain` says which rows get reasons and `top`
        how many at most.

        Raises:
            TableError: the frame lacks a column.
        """
        numbers = np.arange(frame.height) if rows is None else rows
        return self.session().score(TableBatch(frame, numbers, [], file=file), explain=explain, top=top)

    def _check_graph(self) -> None:
        model = self.folder / bundle.MODEL
        if self.graph.columns != len(self.columns):
            raise BundleCorrupt(f"{model} takes {self.graph.columns} columns, the manifest lists {len(self.columns)}")
        if self.graph.axes != self.input.shape:
            raise BundleCorrupt(
                f"{model} takes rows of shape {list(self.graph.axes)}, the manifest describes {self.input.description}"
            )
