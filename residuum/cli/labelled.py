"""Score labelled rows for `evaluate`, `calibrate` and `finetune`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from detector import cells
from detector.errors import SettingError
from detector.scorer import Scorer
from residuum.cli.score import find_inputs, reading_progress
from residuum.labels import LabelledScores, Labelling, check_label, with_labels
from serving.files.scoring import ScoredBatch, ScoringRequest, score_batches


class LabelledFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Files to score, and where their labels are.

    Images are labelled by their folders, or by the table `names`. An empty `normal_values` stands for the usual words.
    """

    files: tuple[str, ...]
    label: str | None
    normal_values: tuple[str, ...] = ()
    decimal_comma: bool = False
    encoding: str = ""
    names: str | None = None

    @property
    def location(self) -> str:
        """Where the labels are, for messages."""
        if self.names:
            return f"in {self.names}"
        return f"in column {self.label!r}" if self.label else "among the folder names"

    @property
    def labelling(self) -> Labelling:
        """Where the labels are, and which of them mean normal."""
        return Labelling(self.location, self.normal_values, "--normal-value")


def score_labelled(
    scorer: Scorer, labelled: LabelledFiles, observe: Callable[[ScoredBatch], object] = lambda _batch: None
) -> LabelledScores:
    """Score files and return the rows that have a label; `observe` is called with every scored batch.

    Raises:
        TableError: a file cannot be read or lacks a column, or no row has a label.
        SettingError: the detector was trained on the label, or the labels that mean normal are unknown.
    """
    if scores_image_files(scorer):
        return _score_images(scorer, labelled)
    if labelled.names or not labelled.label:
        raise SettingError(
            "name the column that labels rows as normal or anomalous: --label"
            + (", and leave out --names" * bool(labelled.names))
        )
    check_label(labelled.label, scorer.columns)
    request = ScoringRequest(
        paths=find_inputs(scorer.manifest, labelled.files),
        keep=(labelled.label,),
        decimal_comma=labelled.decimal_comma,
        encoding=labelled.encoding,
        explain="none",
    )
    scores, flagged, labels, rejected = [], [], [], 0
    with reading_progress(request.paths) as progress:
        for batch in score_batches(scorer, request, progress):
            is_scored = batch.verdicts.is_scored
            scores.append(batch.verdicts.score[is_scored])
            flagged.append(batch.verdicts.is_anomaly[is_scored])
            labels.append(cells.texts(batch.kept(request.keep)[labelled.label].filter(pl.Series(is_scored))))
            rejected += len(batch.rejects)
            observe(batch)
    return with_labels(np.concatenate(scores), np.concatenate(flagged), pl.concat(labels), rejected, labelled.labelling)


def scores_image_files(scorer: Scorer) -> bool:
    """Return whether the detector scores image files rather than rows of tables."""
    return scorer.manifest.image is not None and scorer.manifest.image.files


def _score_images(scorer: Scorer, labelled: LabelledFiles) -> LabelledScores:
    from residuum.cli.image_labels import read_labels

    request = ScoringRequest(paths=find_inputs(scorer.manifest, labelled.files), explain="none")
    label_of = read_labels(labelled.names, labelled.label, labelled.files) if labelled.names else folder_of
    if labelled.label and not labelled.names:
        raise SettingError("images are labelled by the folders that they lie in: leave out --label, or give a table with --names")
    scores, flagged, labels, rejected = [], [], [], 0
    with reading_progress(request.paths, noun="image") as progress:
        for batch in score_batches(scorer, request, progress):
            scores.append(batch.verdicts.score)
            flagged.append(batch.verdicts.is_anomaly)
            labels.append(pl.Series([label_of(file) for file in batch.kept(("file",))["file"]], dtype=pl.String))
            rejected += len(batch.rejects)
    return with_labels(np.concatenate(scores), np.concatenate(flagged), pl.concat(labels), rejected, labelled.labelling)


def folder_of(file: str) -> str:
    """Return the name of the folder that contains a file."""
    return Path(file).absolute().parent.name


def encode_labelled(scorer: Scorer, labelled: LabelledFiles) -> tuple[LabelledScores, np.ndarray]:
    """Score files as `score_labelled` does; return the encoded labelled rows too, `float64[rows, columns]`."""
    if scores_image_files(scorer):
        raise SettingError(f"finetune needs rows of tables, and {scorer.manifest.name} scores image files")
    parts: list[np.ndarray] = []
    rows = score_labelled(scorer, labelled, lambda batch: parts.append(batch.verdicts.matrix))
    return rows, np.concatenate(parts)[rows.indices]
