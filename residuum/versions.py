"""The versions of a model, in Python: `calibrate` and `finetune` write the next one, the others compare and choose."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import msgspec

from detector import bundle, pin, repository
from detector.columns import format_names
from detector.errors import SettingError
from detector.graph import Device
from detector.scorer import Scorer
from residuum import frames
from residuum.api import Detector, Names, as_names, as_path
from residuum.labelled_frames import score_labelled, scorer_of
from residuum.labels import examples_of
from residuum.optional_dependencies import require_client, require_training
from residuum.version_check import VersionSummary, check_version, summarize_version
from serving.monitoring.agreement import Agreement, VersionComparison

if TYPE_CHECKING:
    from training.finetune.comparison import ClassifierComparison

Mode = Literal["frozen", "joint"]


class FineTuning(NamedTuple):
    """What `finetune` returns."""

    comparison: ClassifierComparison  # of the classifier and the score without labels, on held-out rows
    detector: Detector | None  # the next version; None if the classifier is no better, or in a dry run


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two versions side by side."""

    current: VersionSummary
    other: VersionSummary
    agreement: Agreement | None  # on the rows that were given


def calibrate(  # noqa: PLR0913 - the options of `residuum calibrate`, by keyword
    model: Detector | str | Path,
    *,
    false_alarm_rate: float | None = None,
    maximise: str | None = None,
    cost_ratio: float | None = None,
    precision: float | None = None,
    rows: Any = None,  # noqa: ANN401 - any frame that narwhals supports, or an array
    label: Any = None,  # noqa: ANN401 - a name, or any labels
    normal_values: Names = (),
    dry_run: bool = False,
    device: Device = "auto",
) -> Detector:
    """Move a detector's threshold and write it as the next version, as `residuum calibrate` does. Needs the extra `train`.

    Give exactly one of `false_alarm_rate`, `maximise`, `cost_ratio` and `precision`; all but the first need `rows` and `label`.

    Args:
        model: A detector, or a model's folder such as "models/pumps".
        false_alarm_rate: The share of normal rows that may be flagged.
        maximise: An F measure to maximise on labelled rows: "f1", or "f2", "f0.5" to weigh recall more or less.
        cost_ratio: Minimise the cost on labelled rows, where a missed anomaly costs as much as this many false alarms.
        precision: The share of alarms that must be anomalies, on labelled rows.
        rows: Labelled rows: a frame with the detector's columns, or an array `[rows, columns]`.
        label: The column of the frame that labels rows, or the labels themselves: `[rows]`.
        normal_values: Labels that mean normal, as text. Default: 0, false, no, normal, ok and the like.
        dry_run: Write no version; the detector that is returned is in memory only. Default: False.
        device: "cpu", "cuda", or "auto" for a GPU if there is one. Default: "auto".

    Returns:
        The detector with the new threshold.

    Raises:
        SettingError: not exactly one criterion is given, labels are missing or not needed, the criterion cannot be met, or the
            calibration rows cannot promise the rate.
        TableError: the rows cannot be scored, or none has a label.
        BundleError: there is no bundle in the folder.
        OutputError: the version cannot be written.

    Example:
        >>> import residuum
        >>> detector = residuum.calibrate("models/pumps", false_alarm_rate=0.1)
        >>> detector.manifest.version, detector.manifest.parent
        (2, 1)
    """
    require_training()
    from detector.versioning import recalibrate
    from residuum.criterion import ThresholdOptions, criterion_of, decide

    options = ThresholdOptions(
        false_alarm_rate=false_alarm_rate,
        maximise=maximise,
        cost_ratio=cost_ratio,
        precision=precision,
        labels=() if rows is None else ("rows",),
        label=None if label is None else "label",
        normal_values=as_names(normal_values),
        in_python=True,
    )
    criterion = criterion_of(options)
    scorer = scorer_of(model, device)
    if criterion:
        scorer.only_rows("a threshold from labels")
    labelled = score_labelled(scorer, rows, label, normal_values)[0] if criterion else None
    decision = decide(scorer, options, criterion, labelled)
    if not dry_run:
        return Detector(Scorer.open(recalibrate(scorer, decision)[0], device))
    opened = bundle.read(scorer.folder)
    manifest = msgspec.structs.replace(opened.manifest, decision=decision, version=0, parent=opened.manifest.version)
    return Detector(Scorer(opened._replace(manifest=manifest), device))


def finetune(  # noqa: PLR0913 - the options of `residuum finetune`, by keyword
    model: Detector | str | Path,
    rows: Any,  # noqa: ANN401 - any frame that narwhals supports, or an array
    label: Any,  # noqa: ANN401 - a name, or any labels
    *,
    mode: Mode = "frozen",
    normal_values: Names = (),
    seed: int = 0,
    dry_run: bool = False,
    device: Device = "auto",
) -> FineTuning:
    """Train a classifier on a few labelled rows, as `residuum finetune` does. Needs the extra `train`.

    If it beats the score without labels on held-out rows, it is written as the next version. Verdicts do not change; the
    columns `class` and `class_probability` are added to them.

    Args:
        model: A detector, or a model's folder such as "models/pumps".
        rows: Labelled rows, at least five of each class: a frame with the detector's columns, or an array `[rows, columns]`.
        label: The column of the frame that holds each row's class, or the classes themselves: `[rows]`.
        mode: "frozen" for logistic regression on codes and contributions, "joint" for a classification head on a copy of the
            encoder, which learns too. Default: "frozen".
        normal_values: Classes that mean normal, as text. Default: 0, false, no, normal, ok and the like.
        seed: The random seed; the same seed, rows and machine give the same classifier. Default: 0.
        dry_run: Compare without writing a version. Default: False.
        device: "cpu", "cuda", or "auto" for a GPU if there is one. Default: "auto".

    Returns:
        The `comparison` (`unsupervised` and `classifier`, each with `average_precision`, `auroc` and `accuracy`, and `is_better`)
        and the `detector` of the next version; None if the classifier is no better, or in a dry run.

    Raises:
        SettingError: an option is invalid, a class has too few rows, or the detector scores windows or images.
        TableError: the rows cannot be scored, or none has a label.
        BundleError: there is no bundle in the folder.
        OutputError: the version cannot be written.

    Warns:
        UserWarning: rows were left out.

    Example:
        >>> import polars as pl
        >>> import residuum
        >>> labelled = pl.read_csv("labelled.csv")
        >>> comparison, detector = residuum.finetune("models/pumps", labelled, "state", dry_run=True)
        >>> comparison.classifier.auroc > 0.5
        True
    """
    require_training()
    from training.finetune.version import compare_with_score, write_next

    if mode not in get_args(Mode):
        raise SettingError(f"mode must be one of {format_names(get_args(Mode))}; got {mode!r}")
    scorer = scorer_of(model, device).only_rows("finetune")
    opened = bundle.read(scorer.folder)
    labelled, matrix = score_labelled(scorer, rows, label, normal_values)
    if labelled.rejected:
        warnings.warn(f"{labelled.rejected} rows without a label or unreadable were left out", stacklevel=2)
    examples = examples_of(labelled, matrix, opened.manifest.decision)
    comparison = compare_with_score(opened, examples, mode, seed)
    if dry_run or not comparison.is_better:
        return FineTuning(comparison, None)
    folder, _ = write_next(opened, examples, mode, seed, "cuda" if scorer.graph.device == "cuda" else "cpu")
    return FineTuning(comparison, Detector(Scorer.open(folder, device)))


def compare(
    current: Detector | str | Path,
    other: Detector | str | Path,
    rows: Any = None,  # noqa: ANN401 - any frame that narwhals supports, or an array
    *,
    device: Device = "auto",
) -> Comparison:
    """Put two versions side by side: what they were made from, what they promise, and how far they agree on rows.

    Args:
        current: A detector, or a folder such as "models/pumps/1".
        other: Another one, such as "models/pumps/2".
        rows: Rows to score with both: a frame or an array `[rows, columns]`. Default: none are scored.
        device: "cpu", "cuda", or "auto"; only for folders. Default: "auto".

    Returns:
        An object with `current` and `other` (for each `version`, `created`, `parent`, `variant`, `training_rows`,
        `calibration_rows`, `threshold`, `criterion` and `false_alarm_rate`), and `agreement`: None without rows, else how many
        rows `both`, `neither`, `current_alone` and `shadow_alone` (the other one) flag, the share of `same_verdicts`, and the
        `rank_correlation` of the scores.

    Raises:
        BundleError: there is no bundle in a folder.
        TableError: `rows` is no table, or lacks a column.
        SettingError: an argument is neither a detector nor a path.

    Example:
        >>> import polars as pl
        >>> import residuum
        >>> stricter = residuum.calibrate("models/pumps", false_alarm_rate=0.1, dry_run=True)
        >>> comparison = residuum.compare("models/pumps", stricter, pl.read_csv("today.csv"))
        >>> comparison.agreement.rank_correlation
        1.0
    """
    scorers = [_scorer(each, device) for each in (current, other)]
    agreement = None
    if rows is not None:
        counts = VersionComparison()
        counts.add(*(each.score(frames.rows_to_polars(rows, each.manifest), explain="none") for each in scorers))
        agreement = counts.agreement()
    one, another = (summarize_version(each.manifest) for each in scorers)
    return Comparison(current=one, other=another, agreement=agreement)


def promote(model: str | Path, version: int, *, url: str | None = None) -> pin.PinChange:
    """Choose the version that a model's name stands for, as `residuum promote` does; running services follow at once.

    Args:
        model: The model's folder, such as "models/pumps"; with `url`, its name at the service.
        version: The version to use.
        url: The address of a service, to change the version in use there; the environment variable RESIDUUM_TOKEN holds the
            token. Default: the folder is changed.

    Returns:
        The `version` in use, and the `previous` one; None if there was none.

    Raises:
        BundleError: there is no such version, or it cannot be trusted or run.
        SettingError: the service does not answer, or refuses.
        OutputError: the folder cannot be written.

    Example:
        >>> import residuum
        >>> residuum.promote("models/pumps", 1).version
        1
    """
    if url:
        require_client()
        from residuum.remote import RemoteModel

        moved = RemoteModel(url, os.fspath(model)).promote(version)
        return pin.PinChange(moved.version, moved.was)
    folder = repository.model_folder(as_path(model))
    check_version(folder, version)
    return pin.promote(folder, version)


def rollback(model: str | Path, *, url: str | None = None) -> pin.PinChange:
    """Return to the version in use before the last promotion, as `residuum rollback` does.

    Args:
        model: The model's folder, such as "models/pumps"; with `url`, its name at the service.
        url: As in `promote`.

    Returns:
        The `version` in use, and the `previous` one.

    Raises:
        SettingError: there is no version to return to, or the service refuses.
        OutputError: the folder cannot be written.

    Example:
        >>> import residuum
        >>> detector = residuum.calibrate("models/pumps", false_alarm_rate=0.1)
        >>> residuum.promote("models/pumps", 2).version
        2
        >>> residuum.rollback("models/pumps").version
        1
    """
    if url:
        require_client()
        from residuum.remote import RemoteModel

        moved = RemoteModel(url, os.fspath(model)).rollback()
        return pin.PinChange(moved.version, moved.was)
    return pin.rollback(repository.model_folder(as_path(model)))


def _scorer(model: Detector | str | Path, device: Device) -> Scorer:
    """Return the scorer of a detector, saved or not, or open a folder."""
    if isinstance(model, Detector):
        return model._scorer  # noqa: SLF001 - of this package
    return scorer_of(model, device)
