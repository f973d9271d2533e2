"""What `residuum calibrate` was asked for: one way to choose a threshold, and the labels if it needs any."""

from __future__ import annotations

import msgspec

from detector.columns import format_names
from detector.errors import SettingError
from detector.images import are_image_paths
from training.calibrate import CostRatio, Criterion, FBeta, Precision


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """The options that choose the threshold, as they were given."""

    false_alarm_rate: float | None
    maximise: str | None
    cost_ratio: float | None
    precision: float | None
    labels: tuple[str, ...]
    label: str | None
    normal_values: tuple[str, ...]


def criterion_of(wish: Wish) -> Criterion | None:
    """Give the criterion for labelled rows; None asks for a false-alarm rate.

    Raises:
        SettingError: not exactly one was asked for, or what belongs to it is missing.
    """
    ways = {
        "--false-alarm-rate": wish.false_alarm_rate,
        "--maximise": wish.maximise,
        "--cost-ratio": wish.cost_ratio,
        "--precision": wish.precision,
    }
    asked = [option for option, value in ways.items() if value is not None]
    if len(asked) != 1:
        raise SettingError(f"give one of {', '.join(ways)}" + (f", not {' and '.join(asked)}" if asked else ""))
    _check_labels(wish, asked[0])
    return _criterion(wish)


def _check_labels(wish: Wish, asked: str) -> None:
    """Refuse labels that nothing asks for, and their absence where something does."""
    if wish.false_alarm_rate is None:
        by_folder = bool(wish.labels) and are_image_paths(wish.labels)
        needed = {"--labels": wish.labels, **({} if by_folder else {"--label": wish.label})}
        missing = [option for option, value in needed.items() if not value]
        if missing:
            raise SettingError(f"{asked} needs labelled rows: give {' and '.join(missing)} too")
    else:
        given = {"--labels": wish.labels, "--label": wish.label, "--normal-value": wish.normal_values}
        idle = [option for option, value in given.items() if value]
        if idle:
            raise SettingError(f"{asked} needs no labelled rows: leave {' and '.join(idle)} out")


def _criterion(wish: Wish) -> Criterion | None:
    """Make the criterion of the one option that was given."""
    if wish.maximise is not None:
        return FBeta(_beta(wish.maximise))
    if wish.cost_ratio is not None:
        return CostRatio(wish.cost_ratio)
    if wish.precision is None:
        return None
    if not 0 < wish.precision <= 1:
        raise SettingError(f"--precision is a share between 0 and 1; got {wish.precision:g}")
    return Precision(wish.precision)


def _beta(measure: str) -> float:
    """Read what follows the f of f1, f2, f0.5."""
    try:
        return float(measure.lower().removeprefix("f"))
    except ValueError as error:
        raise SettingError(f"--maximise takes {format_names(['f1', 'f2', 'f0.5'])} and the like; got {measure!r}") from error
