"""The metadata of a trained detector of any kind; `detector.manifest` documents the fields."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from importlib.metadata import version

from detector.decision import Decision
from detector.manifest import FORMAT, IgnoredColumn, Manifest, RowCounts, ScoreInfo, TrainingInfo
from detector.version import __version__
from training.fit import FitResult
from training.graph import DetectorGraph
from training.recipe import Recipe
from training.series.graph import SeriesGraph
from training.settings import VariantSettings, as_plain

LIBRARIES = ("numpy", "polars", "torch", "scikit-learn", "onnx", "onnxscript", "onnxruntime", "safetensors")


def summarize_training(
    recipe: Recipe, rows: RowCounts, fitted: FitResult, device: str, seconds: float, folds: int
) -> TrainingInfo:
    """Return the summary of a training run, which took `seconds` on torch's `device`."""
    return TrainingInfo(
        rows=rows,
        seed=recipe.seed,
        device=device,
        steps=fitted.steps,
        best_step=fitted.best_step,
        loss=fitted.loss,
        seconds=round(seconds, 2),
        folds=folds,
        order=f"by {recipe.columns.time}" if recipe.columns.time else "shuffled",
    )


def build_manifest(
    graph: DetectorGraph | SeriesGraph,
    recipe: Recipe,
    settings: VariantSettings,
    ignored: Sequence[IgnoredColumn],
    decision: Decision,
    training: TrainingInfo,
) -> Manifest:
    """Return the manifest, without the fields of one kind of input and without proofs."""
    score = graph.score
    return Manifest(
        format=FORMAT,
        name="",
        version=0,
        parent=None,
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        residuum=__version__,
        variant=recipe.variant,
        settings={**as_plain(settings), "latent": score.model.latent, "precision": graph.precision},
        columns=graph.features.layout.columns,
        ignored=tuple(ignored),
        missing=recipe.missing,
        score=ScoreInfo(score.name, score.unit, score.extra_terms),
        decision=decision,
        training=training,
        parity=(),
        libraries={name: version(name) for name in LIBRARIES},
        files={},
    )
