"""What chooses a threshold, as given to `residuum calibrate` or `residuum.calibrate`, and the criterion that it stands for."""

from __future__ import annotations

import msgspec

from detector.columns import format_names
from detector.decision import Decision
from detector.errors import SettingError
from detector.images import are_image_paths
from detector.scorer import Scorer
from residuum.labels import LabelledScores
from training.calibrate import CostRatio, Criterion, FBeta, Precision, threshold_from_labels

CRITERIA = ("false_alarm_rate", "maximise", "cost_ratio", "precision")


class ThresholdOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options that choose the threshold, as given on the command line or `in_python`."""

    false_alarm_rate: float | None
    maximise: str | None
    cost_ratio: float | None
    precision: float | None
    labels: tuple[str, ...]
    label: str | None
    normal_values: tuple[str, ...]
    in_python: bool = False

    def spelled(self, name: str) -> str:
        """Return an option's name as the user writes it."""
        if self.in_python:
            return {"labels": "rows"}.get(name, name)
        return {"normal_values": "--normal-value"}.get(name, f"--{name.replace('_', '-')}")


def criterion_of(options: ThresholdOptions) -> Criterion | None:
    """Return the criterion for labelled rows, or None if the threshold follows from a false-alarm rate.

    Raises:
        SettingError: not exactly one criterion is given, or the options for labels do not fit it.
    """
    values = {name: getattr(options, name) for name in CRITERIA}
    given = [options.spelled(name) for name, value in values.items() if value is not None]
    if len(given) != 1:
        choices = ", ".join(map(options.spelled, CRITERIA))
        raise SettingError(f"give one of {choices}" + (f", not {' and '.join(given)}" if given else ""))
    _check_labels(options, given[0])
    return _criterion(options)


def decide(scorer: Scorer, options: ThresholdOptions, criterion: Criterion | None, rows: LabelledScores | None) -> Decision:
    """Return the decision that a criterion and labelled rows, or else a false-alarm rate, stand for.

    Raises:
        SettingError: the criterion cannot be met, or the calibration rows cannot promise the rate.
    """
    if criterion and rows:
        return threshold_from_labels(rows.scores, rows.labels, criterion)
    return scorer.decide(options.false_alarm_rate or 0.0)


def _check_labels(options: ThresholdOptions, criterion: str) -> None:
    """Raise if labels are missing for a criterion that needs them, or given for one that does not."""
    if options.false_alarm_rate is None:
        labelled_by_folder = bool(options.labels) and not options.in_python and are_image_paths(options.labels)
        needed = ["labels"] if labelled_by_folder else ["labels", "label"]
        missing = [options.spelled(name) for name in needed if not getattr(options, name)]
        if missing:
            raise SettingError(f"{criterion} needs labelled rows: add {' and '.join(missing)}")
    else:
        unused = [options.spelled(name) for name in ("labels", "label", "normal_values") if getattr(options, name)]
        if unused:
            raise SettingError(f"{criterion} needs no labelled rows: leave out {' and '.join(unused)}")


def _criterion(options: ThresholdOptions) -> Criterion | None:
    if options.maximise is not None:
        return FBeta(_beta(options))
    if options.cost_ratio is not None:
        return CostRatio(options.cost_ratio)
    if options.precision is None:
        return None
    if not 0 < options.precision <= 1:
        raise SettingError(f"{options.spelled('precision')} must be above 0 and at most 1; got {options.precision:g}")
    return Precision(options.precision)


def _beta(options: ThresholdOptions) -> float:
    """Parse the beta of f1, f2, f0.5."""
    measure = str(options.maximise)
    try:
        return float(measure.lower().removeprefix("f"))
    except ValueError as error:
        raise SettingError(
            f"{options.spelled('maximise')} must be an F measure: {format_names(['f1', 'f2', 'f0.5'])}; got {measure!r}"
        ) from error
