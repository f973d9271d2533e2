"""`residuum calibrate`: write the next version of a detector with another threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from residuum import describe
from residuum.cli import output
from residuum.cli.options import DECIMAL_COMMA, DEVICE, ENCODING, MODEL, NORMAL_VALUES
from residuum.optional_dependencies import require_training

if TYPE_CHECKING:
    from rich.table import Table

    from detector.decision import Decision
    from detector.scorer import Scorer
    from residuum.criterion import ThresholdOptions
    from residuum.labels import LabelledScores

CRITERION = "Criterion (exactly one)"


def calibrate(
    model: MODEL,
    *,
    false_alarm_rate: Annotated[
        float | None,
        typer.Option(
            help="The share of normal rows that may be flagged; needs no labels.", show_default=False, rich_help_panel=CRITERION
        ),
    ] = None,
    maximise: Annotated[
        str | None,
        typer.Option(
            help="An F measure to maximise on labelled rows: f1, or f2, f0.5 ... to weigh recall more or less.",
            show_default=False,
            rich_help_panel=CRITERION,
        ),
    ] = None,
    cost_ratio: Annotated[
        float | None,
        typer.Option(
            help="Minimise the cost on labelled rows; a missed anomaly costs as much as this many false alarms.",
            show_default=False,
            rich_help_panel=CRITERION,
        ),
    ] = None,
    precision: Annotated[
        float | None,
        typer.Option(
            help="The share of alarms that must be anomalies, on labelled rows.", show_default=False, rich_help_panel=CRITERION
        ),
    ] = None,
    labels: Annotated[list[str] | None, typer.Option(help="A file of labelled rows; repeatable.", show_default=False)] = None,
    label: Annotated[
        str | None, typer.Option(help="The column that labels rows as normal or anomalous.", show_default=False)
    ] = None,
    normal_value: NORMAL_VALUES = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the effect without writing a version.")] = False,
    device: DEVICE = "auto",
    decimal_comma: DECIMAL_COMMA = False,
    encoding: ENCODING = "",
) -> None:
    """Move the threshold, to a false-alarm rate or by labelled rows, and write it as the next version."""
    require_training()
    from detector.scorer import Scorer
    from residuum.criterion import ThresholdOptions, criterion_of, decide

    options = ThresholdOptions(
        false_alarm_rate=false_alarm_rate,
        maximise=maximise,
        cost_ratio=cost_ratio,
        precision=precision,
        labels=tuple(labels or ()),
        label=label,
        normal_values=tuple(normal_value or ()),
    )
    criterion = criterion_of(options)
    scorer = Scorer.open(model, device)
    if criterion:
        scorer.only_rows("a threshold from labels")
    rows = _labelled(scorer, options, decimal_comma=decimal_comma, encoding=encoding) if criterion else None
    decision = decide(scorer, options, criterion, rows)
    output.print_tables(_effect(scorer, decision, rows))
    if not dry_run:
        _write(scorer, decision)


def _labelled(scorer: Scorer, options: ThresholdOptions, *, decimal_comma: bool, encoding: str) -> LabelledScores:
    from residuum.cli.labelled import LabelledFiles, score_labelled

    files = LabelledFiles(
        files=options.labels,
        label=options.label,
        normal_values=options.normal_values,
        decimal_comma=decimal_comma,
        encoding=encoding,
    )
    return score_labelled(scorer, files)


def _effect(scorer: Scorer, decision: Decision, rows: LabelledScores | None) -> Table:
    """Return the effect of the old and the new threshold side by side."""
    before = _effect_of(scorer, scorer.manifest.decision, rows)
    after = _effect_of(scorer, decision, rows)
    lines = [(label, before[label], after[label]) for label in before]
    return output.table("Threshold", ("", f"version {scorer.manifest.version}", "new"), lines)


def _effect_of(scorer: Scorer, decision: Decision, rows: LabelledScores | None) -> dict[str, str]:
    rate = scorer.calibration.alarm_rate(decision.threshold)
    unit = "rows" if scorer.manifest.window is None else "stretches"
    effect = {
        "threshold": f"{decision.threshold:.6g}",
        "chosen by": decision.criterion,
        "promised false-alarm rate": describe.percentage(decision.false_alarm_rate) if decision.false_alarm_rate else "none",
        f"alarms among {len(scorer.calibration):,} calibration {unit}": describe.percentage(rate),
    }
    if rows is None:
        return effect
    from training.evaluate import evaluate

    evaluation = evaluate(rows.scores, decision.is_anomaly(rows.scores), rows.labels, rows.kinds)
    return effect | {
        f"alarms among {len(rows.scores):,} labelled rows": f"{evaluation.true_alarms + evaluation.false_alarms:,}",
        "precision": f"{evaluation.precision:.4f}",
        "recall": f"{evaluation.recall:.4f}",
        "F1": f"{evaluation.f1:.4f}",
    }


def _write(scorer: Scorer, decision: Decision) -> None:
    from detector.versioning import recalibrate

    folder, manifest = recalibrate(scorer, decision)
    output.print_facts([("bundle", f"{folder}, from version {manifest.parent}"), *output.pinned_facts(folder)])
