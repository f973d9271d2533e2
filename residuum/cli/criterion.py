"""The options of `residuum calibrate` that choose the threshold, and the criterion they stand for."""

from __future__ import annotations

import msgspec

from detector.columns import format_names
from detector.errors import SettingError
from detector.images import are_image_paths
from training.calibrate import CostRatio, Criterion, FBeta, Precision


class ThresholdOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options that choose the threshold, as given on the command line."""

    false_alarm_rate: float | None
    maximise: str | None
    cost_ratio: float | None
    precision: float | None
    labels: tuple[str, ...]
    label: str | None
    normal_values: tuple[str, ...]


def criterion_of(options: ThresholdOptions) -> Criterion | None:
    """Return the criterion for labelled rows, or None if the threshold follows from a false-alarm rate.

    Raises:
        SettingError: not exactly one criterion is given, or the options for labels do not fit it.
    """
    criteria = {
        "--false-alarm-rate": options.false_alarm_rate,
        "--maximise": options.maximise,
        "--cost-ratio": options.cost_ratio,
        "--precision": options.precision,
    }
    given = [option for option, value in criteria.items() if value is not None]
    if len(given) != 1:
        raise SettingError(f"give one of {', '.join(criteria)}" + (f", not {' and '.join(given)}" if given else ""))
    _check_labels(options, given[0])
    return _criterion(options)


def _check_labels(options: ThresholdOptions, criterion: str) -> None:
    """Raise if labels are missing for a criterion that needs them, or given for one that does not."""
    if options.false_alarm_rate is None:
        labelled_by_folder = bool(options.labels) and are_image_paths(options.labels)
        needed = {"--labels": options.labels, **({} if labelled_by_folder else {"--label": options.label})}
        missing = [option for option, value in needed.items() if not value]
        if missing:
            raise SettingError(f"{criterion} needs labelled rows: add {' and '.join(missing)}")
    else:
        label_options = {"--labels": options.labels, "--label": options.label, "--normal-value": options.normal_values}
        unused = [option for option, value in label_options.items() if value]
        if unused:
            raise SettingError(f"{criterion} needs no labelled rows: leave out {' and '.join(unused)}")


def _criterion(options: ThresholdOptions) -> Criterion | None:
    if options.maximise is not None:
        return FBeta(_beta(options.maximise))
    if options.cost_ratio is not None:
        return CostRatio(options.cost_ratio)
    if options.precision is None:
        return None
    if not 0 < options.precision <= 1:
        raise SettingError(f"--precision must be above 0 and at most 1; got {options.precision:g}")
    return Precision(options.precision)


def _beta(measure: str) -> float:
    """Parse the beta of f1, f2, f0.5."""
    try:
        return float(measure.lower().removeprefix("f"))
    except ValueError as error:
        raise SettingError(f"--maximise must be an F measure: {format_names(['f1', 'f2', 'f0.5'])}; got {measure!r}") from error
