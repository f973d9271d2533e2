"""`residuum evaluate`: what the verdicts are worth on labelled rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from residuum.cli import output
from residuum.cli.optional_dependencies import need_training
from residuum.cli.options import DECIMAL_COMMA, DEVICE, FILES, FORMAT, LABEL_OR_FOLDER, MODEL, NAMES, NORMAL_VALUES

if TYPE_CHECKING:
    from rich.table import Table

    from detector.scorer import Scorer
    from residuum.cli.labelled import Labelled
    from training.evaluate import Evaluation

RATIOS = ("precision", "recall", "f1", "false_alarm_rate")


def evaluate(
    model: MODEL,
    files: FILES,
    *,
    label: LABEL_OR_FOLDER = None,
    names: NAMES = None,
    normal_value: NORMAL_VALUES = None,
    device: DEVICE = "auto",
    decimal_comma: DECIMAL_COMMA = False,
    format: FORMAT = "text",  # noqa: A002 - the option's name
) -> None:
    """Compare verdicts with labels: ranking, false alarms, what was found of each kind of anomaly."""
    need_training()
    from detector.scorer import Scorer
    from residuum.cli.labelled import Asked, score_labelled
    from training.evaluate import evaluate as compare

    scorer = Scorer.open(model, device)
    normal_values = tuple(normal_value or ())
    asked = Asked(files=tuple(files), label=label, normal_values=normal_values, decimal_comma=decimal_comma, names=names)
    rows = score_labelled(scorer, asked)
    evaluation = compare(rows.scores, rows.flagged, rows.labels, rows.kinds)
    if format == "json":
        output.print_json(_facts(scorer, rows, evaluation))
    else:
        output.print_tables(*_tables(scorer, rows, evaluation))


def _facts(scorer: Scorer, rows: Labelled, evaluation: Evaluation) -> dict[str, Any]:
    """Give everything for a program."""
    import msgspec

    decision = scorer.manifest.decision
    ratios = {name: getattr(evaluation, name) for name in RATIOS}
    return {
        "model": scorer.manifest.name,
        "version": scorer.manifest.version,
        "rows": len(rows.scores),
        "rejected": rows.rejected,
        "threshold": decision.threshold,
        "promised_false_alarm_rate": decision.false_alarm_rate,
        **msgspec.to_builtins(evaluation),
        **ratios,
    }


def _tables(scorer: Scorer, rows: Labelled, evaluation: Evaluation) -> list[Table]:
    """Lay everything out for a person."""
    return [_ranking(rows, evaluation), _verdicts(scorer, evaluation), _by_label(evaluation)]


def _ranking(rows: Labelled, evaluation: Evaluation) -> Table:
    """Say how well the scores rank, whatever the threshold."""
    anomalies = int(rows.labels.sum())
    probable = evaluation.probable_from
    return output.facts(
        "Ranking, whatever the threshold",
        [
            ("rows", f"{len(rows.labels) - anomalies:,} normal, {output.plural(anomalies, 'anomaly', 'anomalies')}"),
            ("left out", f"{output.count(rows.rejected, 'row')} without a label or not readable" if rows.rejected else ""),
            ("AUROC", f"{evaluation.auroc:.4f}"),
            ("average precision", f"{evaluation.average_precision:.4f}"),
            ("probable from", f"a score of {probable:.4g}: more likely than not an anomaly among these rows" if probable else ""),
        ],
    )


def _promised(scorer: Scorer) -> str:
    """Say what is promised of normal rows; of a series it is no share of rows."""
    rate, window = scorer.manifest.decision.false_alarm_rate, scorer.manifest.window
    if not rate:
        return ""
    if window:
        return f"; promised: alarms begin in {output.percentage(rate)} of normal stretches of {window.length} rows"
    return f"; promised {output.percentage(rate)}"


def _verdicts(scorer: Scorer, evaluation: Evaluation) -> Table:
    """Say what the threshold makes of it."""
    decision = scorer.manifest.decision
    promised = _promised(scorer)
    passed, missed = evaluation.passed, evaluation.missed
    return output.facts(
        f"Verdicts at the threshold of {decision.threshold:.4g}",
        [
            ("normal rows", f"{evaluation.false_alarms:,} flagged, {passed:,} passed"),
            ("anomalies", f"{evaluation.true_alarms:,} flagged, {missed:,} missed"),
            ("false alarms", f"{output.percentage(evaluation.false_alarm_rate)} of normal rows{promised}"),
            ("precision", f"{evaluation.precision:.4f}"),
            ("recall", f"{evaluation.recall:.4f}"),
            ("F1", f"{evaluation.f1:.4f}"),
        ],
    )


def _by_label(evaluation: Evaluation) -> Table:
    """Say what was found of each kind of anomaly."""
    lines = [
        (kind.label, f"{kind.rows:,}", f"{kind.flagged:,}", output.percentage(kind.flagged / kind.rows))
        for kind in evaluation.by_label
    ]
    return output.table("Anomalies by label", ("label", "rows", "flagged", "share"), lines)
