"""`residuum finetune`: a classifier from few labels, as a detector's next version, if it beats the score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from residuum.cli import output
from residuum.cli.optional_dependencies import need_training
from residuum.cli.options import DECIMAL_COMMA, DEVICE, FILES, MODEL, NORMAL_VALUES

if TYPE_CHECKING:
    from rich.table import Table

    from detector.scorer import Scorer
    from residuum.cli.labelled import Asked
    from training.finetune.comparison import ClassifierComparison
    from training.finetune.examples import LabelledExamples

MODES = {"frozen": "logistic regression on codes and contributions", "joint": "a head on a copy of the encoder"}


def finetune(
    model: MODEL,
    files: FILES,
    *,
    label: Annotated[str, typer.Option(help="The column that names each row's class.", show_default=False)],
    mode: Annotated[
        Literal["frozen", "joint"],
        typer.Option(help="frozen: logistic regression on codes and contributions; joint: a copy of the encoder learns too."),
    ] = "frozen",
    normal_value: NORMAL_VALUES = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, rows and machine: the same classifier.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compare and write nothing.")] = False,
    device: DEVICE = "auto",
    decimal_comma: DECIMAL_COMMA = False,
) -> None:
    """Learn classes from a few labelled rows; score and threshold stay as they are."""
    need_training()
    from detector import bundle, repository
    from detector.scorer import Scorer
    from residuum.cli.labelled import Asked
    from training.finetune.version import compare_with_score, write_next

    opened = bundle.read(repository.find(model))
    scorer = Scorer(opened, device).only_rows("finetune")
    normal_values = tuple(normal_value or ())
    asked = Asked(files=tuple(files), label=label, normal_values=normal_values, decimal_comma=decimal_comma)
    examples, left_out = _examples(scorer, asked)
    comparison = compare_with_score(opened, examples, mode, seed)
    output.print_facts(_facts(examples, left_out, mode))
    output.print_tables(_table(comparison))
    if not comparison.is_better:
        output.print_facts([("not kept", f"no better than the score without labels; {opened.folder} stays as it is")])
    elif dry_run:
        output.print_facts([("better", "without --dry-run it would be kept")])
    else:
        folder, manifest = write_next(opened, examples, mode, seed, "cuda" if scorer.graph.device == "cuda" else "cpu")
        output.print_facts([("kept", f"{folder}, from version {manifest.parent}"), *output.pinned_facts(folder)])


def _examples(scorer: Scorer, asked: Asked) -> tuple[LabelledExamples, int]:
    """Read the labelled rows, and count those that were left out."""
    from residuum.cli.labelled import encode_labelled
    from training.finetune.examples import LabelledRows, label_examples

    rows, matrix = encode_labelled(scorer, asked)
    alarms = scorer.manifest.decision.is_anomaly(rows.scores)
    return label_examples(LabelledRows(matrix, rows.scores, alarms, rows.kinds, rows.labels)), rows.rejected


def _facts(examples: LabelledExamples, left_out: int, mode: str) -> list[output.Fact]:
    """Say what was learnt from."""
    counts = [f"{(examples.labels == place).sum():,} {name}" for place, name in enumerate(examples.classes)]
    return [
        ("rows", f"{len(examples.labels):,}: {output.join_names(counts)}"),
        ("left out", f"{output.count(left_out, 'row')} without a label or not readable" if left_out else ""),
        ("mode", f"{mode}: {MODES[mode]}"),
    ]


def _table(comparison: ClassifierComparison) -> Table:
    """Lay the comparison out."""
    from training.finetune.comparison import TWO
    from training.finetune.examples import FOLDS

    names = {"average precision": "average_precision", "AUROC": "auroc"}
    names |= {"accuracy": "accuracy"} if comparison.classes > TWO else {}
    lines = [
        (said, f"{getattr(comparison.unsupervised, name):.4f}", f"{getattr(comparison.classifier, name):.4f}")
        for said, name in names.items()
    ]
    return output.table(f"Mean of {FOLDS} held-out folds", ("", "score without labels", "classifier"), lines)
