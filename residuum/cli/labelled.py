"""Score labelled rows for `evaluate`, `calibrate` and `finetune`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from detector import cells
from detector.columns import format_names
from detector.errors import SettingError, TableError
from detector.scorer import Scorer
from residuum.cli.score import find_inputs, reading_progress
from serving.files.scoring import ScoredBatch, ScoringRequest, score_batches

NORMAL = frozenset({"0", "0.0", "false", "no", "normal", "benign", "ok", "good", "negative"})


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


class LabelledScores(NamedTuple):
    """Scored rows with a label; all arrays have one item per row."""

    scores: np.ndarray  # float64[rows]
    flagged: np.ndarray  # bool[rows], the verdicts
    labels: np.ndarray  # bool[rows], true for an anomaly
    kinds: np.ndarray  # str[rows], the labels as found
    indices: np.ndarray  # int64[rows], positions among all scored rows
    rejected: int  # rows left out: unreadable or without a label; rows in which a window warms up do not count


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
    if any(column.name == labelled.label for column in scorer.columns):
        raise SettingError(
            f"the detector was trained on the column {labelled.label!r}, so its scores already contain the label: train one "
            f"with --ignore {labelled.label}"
        )
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
    return _with_labels(np.concatenate(scores), np.concatenate(flagged), pl.concat(labels), rejected, labelled)


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
    return _with_labels(np.concatenate(scores), np.concatenate(flagged), pl.concat(labels), rejected, labelled)


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


def _with_labels(
    scores: np.ndarray, flagged: np.ndarray, labels: pl.Series, rejected: int, labelled: LabelledFiles
) -> LabelledScores:
    """Keep the rows that have a label, and mark those whose label does not mean normal."""
    has_label = labels.is_not_null()
    if not has_label.any():
        raise TableError(f"no row that can be scored has a label {labelled.location}")
    kinds = labels.filter(has_label)
    is_normal = kinds.is_in(_normal_values(kinds.unique().sort().to_list(), labelled))
    indices = np.flatnonzero(has_label.to_numpy())
    return LabelledScores(
        scores[indices], flagged[indices], ~is_normal.to_numpy(), kinds.to_numpy(), indices, rejected + int((~has_label).sum())
    )


def _normal_values(found: Sequence[str], labelled: LabelledFiles) -> list[str]:
    """Return the labels that mean normal.

    Raises:
        SettingError: a given one does not occur, or none is given and no usual word occurs.
    """
    unknown = [value for value in labelled.normal_values if value not in found]
    if unknown:
        raise SettingError(
            f"--normal-value {format_names(unknown)} is not a label {labelled.location}; the labels are {format_names(found)}"
        )
    normal = list(labelled.normal_values) or [value for value in found if value.lower() in NORMAL]
    if not normal and len(found) == 1:
        raise SettingError(f"all labels {labelled.location} are {found[0]!r}: rows of another class are needed")
    if not normal:
        raise SettingError(
            f"no label {labelled.location} obviously means normal: name it with --normal-value; there are {format_names(found)}"
        )
    return normal
