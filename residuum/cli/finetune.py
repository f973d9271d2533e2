"""`residuum finetune`: train a classifier on few labels and keep it as the next version if it beats the score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from residuum import describe
from residuum.cli import output
from residuum.cli.options import DECIMAL_COMMA, DEVICE, ENCODING, FILES, MODEL, NORMAL_VALUES
from residuum.optional_dependencies import require_training

if TYPE_CHECKING:
    from rich.table import Table

    from detector.scorer import Scorer
    from residuum.cli.labelled import LabelledFiles
    from training.finetune.comparison import ClassifierComparison
    from training.finetune.examples import LabelledExamples

MODES = {"frozen": "logistic regression on codes and contributions", "joint": "a classification head on a copy of the encoder"}


def finetune(
    model: MODEL,
    files: FILES,
    *,
    label: Annotated[str, typer.Option(help="The column that holds each row's class.", show_default=False)],
    mode: Annotated[
        Literal["frozen", "joint"],
        typer.Option(help=f"frozen: {MODES['frozen']}; joint: {MODES['joint']}, which learns too."),
    ] = "frozen",
    normal_value: NORMAL_VALUES = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed: the same seed, rows and machine give the same classifier.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compare without writing a version.")] = False,
    device: DEVICE = "auto",
    decimal_comma: DECIMAL_COMMA = False,
    encoding: ENCODING = "",
) -> None:
    """Train a classifier on a few labelled rows; if it beats the score, it becomes the next version. Verdicts do not change."""
    require_training()
    from detector import bundle, repository
    from detector.scorer import Scorer
    from residuum.cli.labelled import LabelledFiles
    from training.finetune.version import compare_with_score, write_next

    opened = bundle.read(repository.find(model))
    scorer = Scorer(opened, device).only_rows("finetune")
    labelled = LabelledFiles(
        files=tuple(files), label=label, normal_values=tuple(normal_value or ()), decimal_comma=decimal_comma, encoding=encoding
    )
    examples, left_out = _examples(scorer, labelled)
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


def _examples(scorer: Scorer, labelled: LabelledFiles) -> tuple[LabelledExamples, int]:
    """Return the labelled rows as training examples, and the number of rows left out."""
    from residuum.cli.labelled import encode_labelled
    from residuum.labels import examples_of

    rows, matrix = encode_labelled(scorer, labelled)
    return examples_of(rows, matrix, scorer.manifest.decision), rows.rejected


def _facts(examples: LabelledExamples, left_out: int, mode: str) -> list[output.Fact]:
    counts = [f"{(examples.labels == index).sum():,} {name}" for index, name in enumerate(examples.classes)]
    return [
        ("rows", f"{len(examples.labels):,}: {describe.join_names(counts)}"),
        ("left out", f"{describe.count(left_out, 'row')} without a label or unreadable" if left_out else ""),
        ("mode", f"{mode}: {MODES[mode]}"),
    ]


def _table(comparison: ClassifierComparison) -> Table:
    from training.finetune.comparison import TWO
    from training.finetune.examples import FOLDS

    measures = {"average precision": "average_precision", "AUROC": "auroc"}
    measures |= {"accuracy": "accuracy"} if comparison.classes > TWO else {}
    lines = [
        (title, f"{getattr(comparison.unsupervised, name):.4f}", f"{getattr(comparison.classifier, name):.4f}")
        for title, name in measures.items()
    ]
    return output.table(f"Mean of {FOLDS} held-out folds", ("", "score without labels", "classifier"), lines)
