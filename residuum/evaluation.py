"""`residuum.evaluate`: compare verdicts with labels, in Python."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.graph import Device
from residuum.api import Detector, Names
from residuum.labelled_frames import score_labelled, scorer_of

if TYPE_CHECKING:
    from training.evaluate import Evaluation


def evaluate(
    model: Detector | str | Path,
    rows: Any,  # noqa: ANN401 - any frame that narwhals supports, or an array
    label: Any,  # noqa: ANN401 - a name, or any labels
    *,
    normal_values: Names = (),
    device: Device = "auto",
) -> Evaluation:
    """Compare a detector's verdicts with labels, as `residuum evaluate` does. Needs the extra `train`.

    Args:
        model: A detector, or a model's folder such as "models/pumps".
        rows: A frame with the detector's columns, or an array `[rows, columns]`.
        label: The column of the frame that labels rows, or the labels themselves: `[rows]`, of any type. Rows without a label
            are left out.
        normal_values: Labels that mean normal, as text. Default: 0, false, no, normal, ok and the like.
        device: "cpu", "cuda", or "auto"; only for a folder. Default: "auto".

    Returns:
        An object with `auroc`, `average_precision`, the counts `true_alarms`, `false_alarms`, `missed` and `passed`, the ratios
        `precision`, `recall`, `f1` and `false_alarm_rate`, `probable_from` (the score from which a row is more likely an
        anomaly than not; None if there is none) and `by_label` (for each label of anomalies: `label`, `rows`, `flagged`).

    Raises:
        TableError: `rows` is no table, lacks a column, or no row has a label.
        SettingError: the detector was trained on the label, the labels that mean normal are unknown, or all rows are of one
            class.
        BundleError: there is no bundle in the folder.

    Warns:
        UserWarning: rows were left out.

    Example:
        >>> import polars as pl
        >>> import residuum
        >>> rows = pl.read_csv("labelled.csv")
        >>> evaluation = residuum.evaluate("models/pumps", rows, "state")
        >>> evaluation.auroc > 0.9
        True
    """
    from residuum.optional_dependencies import require_training

    require_training()
    from training.evaluate import evaluate as compare

    labelled, _ = score_labelled(scorer_of(model, device), rows, label, normal_values)
    if labelled.rejected:
        warnings.warn(f"{labelled.rejected} rows without a label or unreadable were left out", stacklevel=2)
    return compare(labelled.scores, labelled.flagged, labelled.labels, labelled.kinds)
