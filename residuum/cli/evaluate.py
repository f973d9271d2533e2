"""`residuum evaluate`: compare verdicts with labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from residuum import describe
from residuum.cli import output
from residuum.cli.options import DECIMAL_COMMA, DEVICE, ENCODING, FILES, FORMAT, LABEL_OR_FOLDER, MODEL, NAMES, NORMAL_VALUES
from residuum.optional_dependencies import require_training

if TYPE_CHECKING:
    from rich.table import Table

    from detector.scorer import Scorer
    from residuum.labels import LabelledScores
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
    encoding: ENCODING = "",
    format: FORMAT = "text",  # noqa: A002 - the option's name
) -> None:
    """Compare verdicts with labels: ranking, false alarms, and the share found of each kind of anomaly."""
    require_training()
    from detector.scorer import Scorer
    from residuum.cli.labelled import LabelledFiles, score_labelled
    from training.evaluate import evaluate as compare

    scorer = Scorer.open(model, device)
    labelled = LabelledFiles(
        files=tuple(files),
        label=label,
        normal_values=tuple(normal_value or ()),
        decimal_comma=decimal_comma,
        encoding=encoding,
        names=names,
    )
    rows = score_labelled(scorer, labelled)
    evaluation = compare(rows.scores, rows.flagged, rows.labels, rows.kinds)
    if format == "json":
        output.print_json(_as_dict(scorer, rows, evaluation))
    else:
        output.print_tables(_ranking(rows, evaluation), _verdicts(scorer, evaluation), _by_label(evaluation))


def _as_dict(scorer: Scorer, rows: LabelledScores, evaluation: Evaluation) -> dict[str, Any]:
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


def _ranking(rows: LabelledScores, evaluation: Evaluation) -> Table:
    """Return how well scores separate anomalies from normal rows, independent of the threshold."""
    anomalies = int(rows.labels.sum())
    probable = evaluation.probable_from
    return output.facts_table(
        "Ranking (independent of the threshold)",
        [
            ("rows", f"{len(rows.labels) - anomalies:,} normal, {describe.plural(anomalies, 'anomaly', 'anomalies')}"),
            ("left out", f"{describe.count(rows.rejected, 'row')} without a label or unreadable" if rows.rejected else ""),
            ("AUROC", f"{evaluation.auroc:.4f}"),
            ("average precision", f"{evaluation.average_precision:.4f}"),
            (
                "probable from",
                f"a score of {probable:.4g}: from there, most of these rows are anomalies" if probable else "",
            ),
        ],
    )


def _verdicts(scorer: Scorer, evaluation: Evaluation) -> Table:
    """Return what the threshold flags and misses."""
    decision = scorer.manifest.decision
    return output.facts_table(
        f"Verdicts at the threshold of {decision.threshold:.4g}",
        [
            ("normal rows", f"{evaluation.false_alarms:,} flagged, {evaluation.passed:,} passed"),
            ("anomalies", f"{evaluation.true_alarms:,} flagged, {evaluation.missed:,} missed"),
            ("false alarms", f"{describe.percentage(evaluation.false_alarm_rate)} of normal rows{_promise(scorer)}"),
            ("precision", f"{evaluation.precision:.4f}"),
            ("recall", f"{evaluation.recall:.4f}"),
            ("F1", f"{evaluation.f1:.4f}"),
        ],
    )


def _promise(scorer: Scorer) -> str:
    """Return the promised false-alarm rate: of normal rows, or of normal stretches of a series."""
    rate, window = scorer.manifest.decision.false_alarm_rate, scorer.manifest.window
    if not rate:
        return ""
    if window:
        return f"; promised: alarms begin in {describe.percentage(rate)} of normal stretches of {window.length} rows"
    return f"; promised {describe.percentage(rate)}"


def _by_label(evaluation: Evaluation) -> Table:
    """Return the share flagged of each kind of anomaly."""
    lines = [
        (kind.label, f"{kind.rows:,}", f"{kind.flagged:,}", describe.percentage(kind.flagged / kind.rows))
        for kind in evaluation.by_label
    ]
    return output.table("Anomalies by label", ("label", "rows", "flagged", "share"), lines)
