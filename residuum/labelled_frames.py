"""Score labelled rows of frames and arrays, for `evaluate`, `calibrate` and `finetune` in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from detector import cells
from detector.errors import SettingError, TableError
from detector.graph import Device
from detector.scorer import Scorer
from residuum import frames
from residuum.api import Detector, Names, as_names, as_path
from residuum.labels import LabelledScores, Labelling, check_label, with_labels


def scorer_of(model: Detector | str | Path, device: Device) -> Scorer:
    """Return the scorer of a detector, or open a model's folder.

    Raises:
        BundleError: there is no bundle that can be trusted.
        SettingError: it is neither, or the detector is not saved.
    """
    if not isinstance(model, Detector):
        return Scorer.open(as_path(model), device)
    scorer: Scorer = model._scorer  # noqa: SLF001 - of this package
    if not scorer.manifest.version:
        raise SettingError("the detector is not saved, so it has no version to start from: save it first")
    return scorer


def score_labelled(scorer: Scorer, rows: Any, label: Any, normal_values: Names = ()) -> tuple[LabelledScores, np.ndarray]:  # noqa: ANN401 - any frame, any labels
    """Score rows; return those that have a label, and their cells, `float64[labelled rows, columns]`.

    Raises:
        TableError: `rows` is no table, lacks a column, or no row that can be scored has a label.
        SettingError: the detector was trained on the label, or the labels that mean normal are unknown.
    """
    frame = frames.rows_to_polars(rows, scorer.manifest)
    labels, location = _labels(scorer, rows, label, frame.height)
    verdicts = scorer.score(frame, explain="none")
    is_scored = verdicts.is_scored
    of_scored = labels.filter(pl.Series(verdicts.accepted)).filter(pl.Series(is_scored))
    labelling = Labelling(location, as_names(normal_values), "normal_values")
    scores, flagged = verdicts.score[is_scored], verdicts.is_anomaly[is_scored]
    labelled = with_labels(scores, flagged, of_scored, len(verdicts.rejects), labelling)
    return labelled, verdicts.matrix[is_scored][labelled.indices]


def _labels(scorer: Scorer, rows: Any, label: Any, height: int) -> tuple[pl.Series, str]:  # noqa: ANN401 - any frame, any labels
    """Return the label of each row as text, and where it is, for messages."""
    if not isinstance(label, str):
        values = np.asarray(label)
        if values.shape != (height,):
            raise TableError(f"{height:,} rows need as many labels; these have shape {values.shape}")
        return cells.texts(frames.array_to_polars(values[:, None], ["label"])["label"]), "in the labels"
    if isinstance(rows, np.ndarray):
        raise TableError(f"an array has no column {label!r}: give the labels themselves, one for each row")
    check_label(label, scorer.columns)
    frame = frames.open_frame(rows)
    if label not in [str(name) for name in frame.columns]:
        raise TableError(f"the frame has no column {label!r} with labels")
    return cells.texts(frames.to_polars(frame, {label})[label]), f"in column {label!r}"
