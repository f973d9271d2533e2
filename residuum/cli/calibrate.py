"""`residuum calibrate`: another threshold for a detector, as its next version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from residuum.cli import output
from residuum.cli.optional_dependencies import need_training
from residuum.cli.options import DECIMAL_COMMA, DEVICE, MODEL, NORMAL_VALUES

if TYPE_CHECKING:
    from rich.table import Table

    from detector.decision import Decision
    from detector.scorer import Scorer
    from residuum.cli.criterion import Wish
    from residuum.cli.labelled import Labelled
    from training.calibrate import Criterion


def calibrate(
    model: MODEL,
    *,
    false_alarm_rate: Annotated[
        float | None, typer.Option(help="The share of normal rows that may be flagged; needs no labels.", show_default=False)
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option(help="A file of labelled rows; may be repeated.", show_default=False)
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="The column that tells normal rows from anomalies.", show_default=False)
    ] = None,
    normal_value: NORMAL_VALUES = None,
    maximise: Annotated[
        str | None, typer.Option(help="f1, or f2, f0.5 ... where recall counts more or less.", show_default=False)
    ] = None,
    cost_ratio: Annotated[
        float | None, typer.Option(help="How many false alarms a missed anomaly costs.", show_default=False)
    ] = None,
    precision: Annotated[float | None, typer.Option(help="The share of alarms that must be right.", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the effect and write nothing.")] = False,
    device: DEVICE = "auto",
    decimal_comma: DECIMAL_COMMA = False,
) -> None:
    """Move the threshold: to a false-alarm rate, or to what serves best on labelled rows."""
    need_training()
    from detector.scorer import Scorer
    from residuum.cli.criterion import Wish, criterion_of

    wish = Wish(
        false_alarm_rate=false_alarm_rate,
        maximise=maximise,
        cost_ratio=cost_ratio,
        precision=precision,
        labels=tuple(labels or ()),
        label=label,
        normal_values=tuple(normal_value or ()),
    )
    criterion = criterion_of(wish)
    scorer = Scorer.open(model, device)
    if criterion:
        scorer.only_rows("a threshold from labels")
    rows = _labelled(scorer, wish, decimal_comma=decimal_comma) if criterion else None
    decision = _decide(scorer, wish, criterion, rows)
    output.print_tables(_effect(scorer, decision, rows))
    if not dry_run:
        _write(scorer, decision)


def _labelled(scorer: Scorer, wish: Wish, *, decimal_comma: bool) -> Labelled:
    """Score the labelled rows."""
    from residuum.cli.labelled import Asked, score_labelled

    asked = Asked(files=wish.labels, label=wish.label, normal_values=wish.normal_values, decimal_comma=decimal_comma)
    return score_labelled(scorer, asked)


def _decide(scorer: Scorer, wish: Wish, criterion: Criterion | None, rows: Labelled | None) -> Decision:
    """Choose the threshold."""
    from training.calibrate import threshold_from_labels

    if criterion and rows:
        return threshold_from_labels(rows.scores, rows.labels, criterion)
    return scorer.decide(wish.false_alarm_rate or 0.0)


def _effect(scorer: Scorer, decision: Decision, rows: Labelled | None) -> Table:
    """Show what the old and the new threshold do."""
    before = _column(scorer, scorer.manifest.decision, rows)
    after = _column(scorer, decision, rows)
    lines = [(name, before[name], after[name]) for name in before]
    return output.table("Threshold", ("", f"version {scorer.manifest.version}", "new"), lines)


def _column(scorer: Scorer, decision: Decision, rows: Labelled | None) -> dict[str, str]:
    """Say what a threshold does."""
    rate = scorer.calibration.alarm_rate(decision.threshold)
    of = "rows" if scorer.manifest.window is None else "stretches"
    said = {
        "threshold": f"{decision.threshold:.6g}",
        "by": decision.criterion,
        "promised false-alarm rate": output.percentage(decision.false_alarm_rate) if decision.false_alarm_rate else "none",
        f"alarms among {len(scorer.calibration):,} calibration {of}": output.percentage(rate),
    }
    if rows is None:
        return said
    from training.evaluate import evaluate

    found = evaluate(rows.scores, decision.is_anomaly(rows.scores), rows.labels, rows.kinds)
    return said | {
        f"alarms among {len(rows.scores):,} labelled rows": f"{found.true_alarms + found.false_alarms:,}",
        "precision": f"{found.precision:.4f}",
        "recall": f"{found.recall:.4f}",
        "F1": f"{found.f1:.4f}",
    }


def _write(scorer: Scorer, decision: Decision) -> None:
    """Write the next version."""
    from detector.versioning import recalibrate

    folder, manifest = recalibrate(scorer, decision)
    output.print_facts([("bundle", f"{folder}, from version {manifest.parent}"), *output.pinned_facts(folder)])
