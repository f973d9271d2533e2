"""Labelled rows, scored: what `evaluate`, `calibrate` and `finetune` look at."""

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
from residuum.cli.score import inputs, watching
from serving.files.scoring import ScoredBatch, ScoringRequest, score_batches

NORMAL = frozenset({"0", "0.0", "false", "no", "normal", "benign", "ok", "good", "negative"})


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Which files, which column is the label, and which labels mean normal (none said: the usual words).

    Images are labelled by the folders that they lie in, or by a table of `names`.
    """

    files: tuple[str, ...]
    label: str | None
    normal_values: tuple[str, ...] = ()
    decimal_comma: bool = False
    names: str | None = None

    @property
    def where(self) -> str:
        """Say where labels stand."""
        if self.names:
            return f"in {self.names}"
        return f"in column {self.label!r}" if self.label else "among the names of folders"


class Labelled(NamedTuple):
    """Scored rows with their labels; all arrays speak of the same rows."""

    scores: np.ndarray  # float64[rows]
    flagged: np.ndarray  # bool[rows], the verdicts
    labels: np.ndarray  # bool[rows], true for an anomaly
    kinds: np.ndarray  # str[rows], the labels as found
    at: np.ndarray  # int64[rows], their places among all rows that could be scored
    rejected: int  # rows that were left out: unreadable, or without a label; rows that warm a window up are not counted


def score_labelled(scorer: Scorer, asked: Asked, also: Callable[[ScoredBatch], object] = lambda _scored: None) -> Labelled:
    """Score files and take their labels along; every block is shown to `also`.

    Raises:
        TableError: a file cannot be read or lacks a column.
        SettingError: the detector was trained on the label, or nobody can tell which labels mean normal.
    """
    if of_files(scorer):
        return _score_images(scorer, asked)
    if asked.names or not asked.label:
        raise SettingError(
            "which column tells normal rows from anomalies? Name it by --label" + (", without --names" * bool(asked.names))
        )
    if any(column.name == asked.label for column in scorer.columns):
        raise SettingError(
            f"the detector learnt from the column {asked.label!r}, so its scores know the answers: train one with "
            f"--ignore {asked.label}"
        )
    request = ScoringRequest(
        paths=inputs(scorer.manifest, asked.files), keep=(asked.label,), decimal_comma=asked.decimal_comma, explain="none"
    )
    scores, flagged, found, rejected = [], [], [], 0
    with watching(request.paths) as watch:
        for scored in score_batches(scorer, request, watch):
            some = scored.verdicts.is_scored
            scores.append(scored.verdicts.score[some])
            flagged.append(scored.verdicts.is_anomaly[some])
            found.append(cells.texts(scored.kept(request.keep)[asked.label].filter(pl.Series(some))))
            rejected += len(scored.rejects)
            also(scored)
    return _labelled(np.concatenate(scores), np.concatenate(flagged), pl.concat(found), rejected, asked)


def of_files(scorer: Scorer) -> bool:
    """Tell whether a detector judges files of images."""
    return scorer.manifest.image is not None and scorer.manifest.image.files


def _score_images(scorer: Scorer, asked: Asked) -> Labelled:
    """Score files of images and find their labels."""
    from residuum.cli.image_labels import labels_of

    request = ScoringRequest(paths=inputs(scorer.manifest, asked.files), explain="none")
    label = labels_of(asked.names, asked.label, asked.files) if asked.names else folder_of
    if asked.label and not asked.names:
        raise SettingError("images are labelled by the folders that they lie in: leave --label out, or give a table by --names")
    scores, flagged, found, rejected = [], [], [], 0
    with watching(request.paths, noun="image") as watch:
        for scored in score_batches(scorer, request, watch):
            scores.append(scored.verdicts.score)
            flagged.append(scored.verdicts.is_anomaly)
            found.append(pl.Series([label(file) for file in scored.kept(("file",))["file"]], dtype=pl.String))
            rejected += len(scored.rejects)
    return _labelled(np.concatenate(scores), np.concatenate(flagged), pl.concat(found), rejected, asked)


def folder_of(file: str) -> str:
    """Give the name of the folder that a file lies in."""
    return Path(file).absolute().parent.name


def encode_labelled(scorer: Scorer, asked: Asked) -> tuple[Labelled, np.ndarray]:
    """Score files as `score_labelled` does, and give the matrix of the labelled rows too: `float64[rows, columns]`."""
    if of_files(scorer):
        raise SettingError(f"classes are learnt from rows of tables, and {scorer.manifest.name} judges files of images")
    parts: list[np.ndarray] = []
    rows = score_labelled(scorer, asked, lambda scored: parts.append(scored.verdicts.matrix))
    return rows, np.concatenate(parts)[rows.at]


def _labelled(scores: np.ndarray, flagged: np.ndarray, found: pl.Series, rejected: int, asked: Asked) -> Labelled:
    """Leave out rows without a label, and tell normal labels from the others."""
    there = found.is_not_null()
    if not there.any():
        raise TableError(f"no row that can be scored has a label {asked.where}")
    kinds = found.filter(there)
    normal = kinds.is_in(_normal_values(kinds.unique().sort().to_list(), asked))
    at = np.flatnonzero(there.to_numpy())
    return Labelled(scores[at], flagged[at], ~normal.to_numpy(), kinds.to_numpy(), at, rejected + int((~there).sum()))


def _normal_values(seen: Sequence[str], asked: Asked) -> list[str]:
    """Give the labels that mean normal.

    Raises:
        SettingError: one that was named is not there, or none was and none is usual.
    """
    strange = [value for value in asked.normal_values if value not in seen]
    if strange:
        raise SettingError(f"--normal-value {format_names(strange)} is no label {asked.where}; there are {format_names(seen)}")
    normal = list(asked.normal_values) or [value for value in seen if value.lower() in NORMAL]
    if not normal and len(seen) == 1:
        raise SettingError(f"all labels {asked.where} are {seen[0]!r}: rows of another class are needed")
    if not normal:
        raise SettingError(f"which labels {asked.where} mean normal? Say it with --normal-value; there are {format_names(seen)}")
    return normal
