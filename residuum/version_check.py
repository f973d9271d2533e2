"""What `promote` looks at before a version is used: how it differs from others, and whether it scores."""

from __future__ import annotations

from pathlib import Path

import msgspec

from detector import pin
from detector.manifest import Manifest
from detector.scorer import Scorer
from serving.preload import preload


class VersionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What distinguishes a version from others of its model."""

    name: str
    version: int
    created: str  # ISO 8601, UTC
    parent: int | None  # the version that it came from
    variant: str
    training_rows: int
    calibration_rows: int
    threshold: float
    criterion: str  # what the threshold was chosen by
    false_alarm_rate: float | None  # promised; None if nothing is


def summarize_version(manifest: Manifest) -> VersionSummary:
    """Return what distinguishes a version from others of its model."""
    decision, rows = manifest.decision, manifest.training.rows
    return VersionSummary(
        name=manifest.name,
        version=manifest.version,
        created=manifest.created,
        parent=manifest.parent,
        variant=manifest.variant,
        training_rows=rows.training,
        calibration_rows=rows.calibration,
        threshold=decision.threshold,
        criterion=decision.criterion,
        false_alarm_rate=decision.false_alarm_rate,
    )


def check_version(folder: Path, version: int) -> None:
    """Raise unless a model has a version that scores.

    Raises:
        BundleError: it does not.
    """
    pin.require_version(folder, version)
    scorer = Scorer.open(folder / str(version), "cpu")
    if scorer.manifest.window is None:  # no service holds a series detector open: files and Python open it when needed
        preload(scorer)
