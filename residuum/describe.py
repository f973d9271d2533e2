"""Plain text about a detector, for the command line and notebooks: its promise, columns, windows and split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detector.alarm import AlarmRule
    from detector.decision import Decision
    from detector.images import ImageSpec
    from detector.manifest import Manifest
    from detector.windows import Window

LONGER = 3  # times the steps of a training that was too short
WIDE = 1000  # columns: `training.whitening.MAX_WHITENED`
SPARSE_SETTINGS = {"weight", "target", "k", "threshold"}
USED_BY_DRIVER = {
    "l1": {"weight"},
    "l2": {"weight"},
    "kl": {"weight", "target"},
    "top-k": {"k"},
    "error-threshold": {"threshold"},
}
PLURALS: dict[str, str] = {"number": "numbers", "category": "categories", "boolean": "booleans", "date": "dates"}


def count(number: int, noun: str) -> str:
    """Return a count with its noun: `1 row`, `2,000 rows`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def plural(number: int, one: str, several: str) -> str:
    """Return a count with a noun of irregular plural: `2 categories`."""
    return f"{number:,} {one if number == 1 else several}"


def percentage(share: float) -> str:
    """Return a share as a percentage with three significant digits: `1.25 %`."""
    return f"{100 * share:.3g} %"


def join_names(names: Iterable[str], max_names: int = 8) -> str:
    """Join names by commas, cut after `max_names`: `a, b and 3 more`."""
    names = list(names)
    rest = len(names) - max_names
    return ", ".join(names[:max_names]) + (f" and {rest:,} more" if rest > 0 else "")


def version(manifest: Manifest) -> str:
    """Return a detector's name and version: `pumps/3`; of one that is not saved, what it came from."""
    if manifest.version:
        return f"{manifest.name}/{manifest.version}"
    return f"(not saved, from {manifest.name}/{manifest.parent})" if manifest.parent else "(not saved)"


def row_noun(manifest: Manifest) -> str:
    """Return the noun for one scored item: `image` if the detector scores image files, else `row`."""
    return "image" if manifest.image and manifest.image.files else "row"


def wide(manifest: Manifest) -> str:
    """Return a note that a table has too many columns to be whitened; empty if it has not."""
    if "whitened residual" not in manifest.score.name or len(manifest.columns) <= WIDE:
        return ""
    return (
        f"more than {WIDE:,} columns: each residual is divided by its own deviation, and how columns vary together "
        "is not used; --variant memory trains faster on such tables"
    )


def stored_rows(manifest: Manifest) -> str:
    """Return a warning that the bundle holds training rows; empty if it holds none."""
    if not manifest.stored_rows:
        return ""
    return (
        f"the bundle holds {manifest.stored_rows:,} training rows as they are; if this is not acceptable, train with --no-memory"
    )


def bound(decision: Decision) -> str:
    """Return how a promised rate binds: `at most`, or `about` where it holds empirically."""
    return "about" if decision.promise == "empirical" else "at most"


def promise(manifest: Manifest, lowered_from: float | None = None) -> str:
    """Return what the threshold promises; `lowered_from` is the default rate, if the rows are too few to promise it."""
    decision, training, noun = manifest.decision, manifest.training, row_noun(manifest)
    if not decision.by_p_value or not decision.false_alarm_rate:
        return f"none: the threshold was chosen {'on labelled rows' if decision.promise == 'labels' else 'by hand'}"
    rate, calibration = percentage(decision.false_alarm_rate), training.rows.calibration
    if manifest.window:
        stretches = plural(calibration, "held-out stretch", "held-out stretches")
        text = (
            f"an alarm begins in at most {rate} of normal stretches of {manifest.window.length} rows if the future is like the "
            f"training rows, calibrated on {stretches}"
        )
    elif training.folds:
        text = (
            f"about {rate} of normal {noun}s are flagged, calibrated on {count(calibration, noun)}, each scored by a model "
            "that was trained without it"
        )
    elif training.order == "shuffled":
        text = f"at most {rate} of normal {noun}s are flagged, calibrated on {count(calibration, noun)} held out from training"
    else:
        text = (
            f"at most {rate} of normal {noun}s are flagged if the future is like the newest {count(calibration, noun)}, "
            "held out from training"
        )
    return text if lowered_from is None else f"{text}; too few for the default of {percentage(lowered_from)}"


def loss(manifest: Manifest) -> str:
    """Return the validation loss, and how training reached it."""
    return f"{manifest.training.loss:.4g} ({_steps(manifest)})"


def _steps(manifest: Manifest) -> str:
    """Return the steps of training, and what to do if they were too few."""
    training = manifest.training
    if not training.steps:
        return (
            "solved in closed form, without training steps" if manifest.window else "learnt in one pass, without training steps"
        )
    if not training.best_step:
        return f"none of {training.steps:,} steps was better than the start; a lower learning_rate may help"
    folds = ", medians of the parts held out in turn" if training.folds or manifest.window else ""
    best = f"best of {training.steps:,} steps at {training.best_step:,}{folds}"
    if training.best_step < training.steps:
        return best
    return f"{best}: still learning; --max-steps {LONGER * training.steps} trains on while it is"


def columns(manifest: Manifest, max_names: int = 4) -> str:
    """Return the number of columns of each kind, with the first names: `2 numbers (load, flow), 1 date (at)`."""
    by_kind = {kind: [column.name for column in manifest.columns if column.kind == kind] for kind in PLURALS}
    return ", ".join(
        f"{plural(len(names), kind, PLURALS[kind])} ({join_names(names, max_names)})" for kind, names in by_kind.items() if names
    )


def settings(manifest: Manifest) -> dict[str, str | int | float | bool]:
    """Return the settings of the variant that apply: a memory has no layers, each way to be sparse its own numbers.

    The usual number of steps is not shown: `loss` says how many there were.
    """
    unused = {"sizes", "activation"} if manifest.variant == "memory" else set()
    if "driver" in manifest.settings:
        unused |= SPARSE_SETTINGS - USED_BY_DRIVER.get(str(manifest.settings["driver"]), SPARSE_SETTINGS)
    if manifest.settings.get("corruption") == "none":
        unused.add("level")
    unused |= {name for name in ("steps", "max_steps") if not manifest.settings.get(name)}
    return {name: value for name, value in manifest.settings.items() if name not in unused}


def written(manifest: Manifest) -> str:
    """Return how columns write numbers and dates, where not as in ISO 8601 or a program: `weight in kg; when like dd/mm/yy`."""
    from detector.date_format import describe as describe_date_format

    numbers = [
        f"{column.name} {column.number_format.describe()}" for column in manifest.columns if not column.number_format.is_plain
    ]
    dates = [f"{column.name} {describe_date_format(column.date_format)}" for column in manifest.columns if column.date_format]
    return "; ".join([*numbers, *dates])


def image(image: ImageSpec) -> str:
    """Return what the detector sees of an image: `24x16 pixels, grey`."""
    return f"{image.size} pixels, {'grey' if image.mode == 'grey' else 'in colour'}"


def window(window: Window) -> str:
    """Return how rows become windows."""
    of_key = f" of each {window.key}" if window.key else ""
    stride = f", every {window.stride} rows" if window.stride > 1 else ""
    return f"{window.length} rows{of_key}, ordered by {window.time}{stride}; a gap above {window.max_gap:g} starts a new window"


def alarm(alarm: AlarmRule) -> str:
    """Return when an alarm of a series begins and ends."""
    votes = f"{alarm.m} of the newest {alarm.n} scores are" if alarm.n > 1 else "a score is"
    smoothed = f", smoothed over {alarm.smoothing} windows," if alarm.smoothing > 1 else ""
    return (
        f"begins when {votes}{smoothed} above the threshold, ends after {alarm.quiet} scores in a row at or below "
        f"{alarm.release:g} of it"
    )


def split(manifest: Manifest) -> str:
    """Return how training split the rows."""
    rows = manifest.training.rows
    if manifest.training.folds:
        return f"all for training; each of {manifest.training.folds} folds is held out once for calibration"
    if manifest.window:
        return f"{rows.training:,} for training; each of four blocks of time is held out once for calibration"
    return f"{rows.training:,} for training, {rows.validation:,} for validation, {rows.calibration:,} for calibration"
