"""Labels of scored rows: which rows have one, and which labels mean normal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from detector.columns import Column, format_names
from detector.decision import Decision
from detector.errors import SettingError, TableError

if TYPE_CHECKING:
    from training.finetune.examples import LabelledExamples

NORMAL = frozenset({"0", "0.0", "false", "no", "normal", "benign", "ok", "good", "negative"})


class Labelling(NamedTuple):
    """Where labels are, and which of them mean normal; no `normal_values` stand for the usual words."""

    location: str  # such as "in column 'state'", for messages
    normal_values: Sequence[str]
    option: str  # that names normal values, for messages


class LabelledScores(NamedTuple):
    """Scored rows with a label; all arrays have one item per row."""

    scores: np.ndarray  # float64[rows]
    flagged: np.ndarray  # bool[rows], the verdicts
    labels: np.ndarray  # bool[rows], true for an anomaly
    kinds: np.ndarray  # str[rows], the labels as found
    indices: np.ndarray  # int64[rows], positions among all scored rows
    rejected: int  # rows left out: unreadable or without a label; rows in which a window warms up do not count


def check_label(label: str, columns: Iterable[Column]) -> None:
    """Raise if a detector was trained on the label.

    Raises:
        SettingError: it was.
    """
    if any(column.name == label for column in columns):
        raise SettingError(
            f"the detector was trained on the column {label!r}, so its scores already contain the label: train one "
            f"with --ignore {label}"
        )


def with_labels(
    scores: np.ndarray, flagged: np.ndarray, labels: pl.Series, rejected: int, labelling: Labelling
) -> LabelledScores:
    """Keep the scored rows that have a label, and mark those whose label does not mean normal.

    Raises:
        TableError: no row has a label.
        SettingError: the labels that mean normal are unknown.
    """
    has_label = labels.is_not_null()
    if not has_label.any():
        raise TableError(f"no row that can be scored has a label {labelling.location}")
    kinds = labels.filter(has_label)
    is_normal = kinds.is_in(_normal_values(kinds.unique().sort().to_list(), labelling))
    indices = np.flatnonzero(has_label.to_numpy())
    return LabelledScores(
        scores[indices], flagged[indices], ~is_normal.to_numpy(), kinds.to_numpy(), indices, rejected + int((~has_label).sum())
    )


def examples_of(rows: LabelledScores, matrix: np.ndarray, decision: Decision) -> LabelledExamples:
    """Return labelled rows, whose cells are `float64[rows, columns]`, as examples for a classifier.

    Raises:
        SettingError: there is one class only, all are normal, or a class has too few rows.
    """
    from training.finetune.examples import LabelledRows, label_examples

    return label_examples(LabelledRows(matrix, rows.scores, decision.is_anomaly(rows.scores), rows.kinds, rows.labels))


def _normal_values(found: Sequence[str], labelling: Labelling) -> list[str]:
    """Return the labels that mean normal.

    Raises:
        SettingError: a given one does not occur, or none is given and no usual word occurs.
    """
    location, option = labelling.location, labelling.option
    unknown = [value for value in labelling.normal_values if value not in found]
    if unknown:
        raise SettingError(f"{option} {format_names(unknown)} is not a label {location}; the labels are {format_names(found)}")
    normal = list(labelling.normal_values) or [value for value in found if value.lower() in NORMAL]
    if not normal and len(found) == 1:
        raise SettingError(f"all labels {location} are {found[0]!r}: rows of another class are needed")
    if not normal:
        raise SettingError(f"no label {location} obviously means normal: name it with {option}; there are {format_names(found)}")
    return normal
