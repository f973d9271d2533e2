"""`residuum inspect`: show a bundle's manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from residuum import describe
from residuum.cli import output
from residuum.cli.options import FORMAT, MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from detector.columns import Column
    from detector.images import ImageSpec
    from detector.manifest import Manifest, Parity

MAX_VALUES = 4  # of a column's vocabulary


def inspect(model: MODEL, *, format: FORMAT = "text") -> None:  # noqa: A002 - the option's name
    """Show what a detector learnt and promises, and the proof that its graph computes the same as the trained network."""
    import msgspec

    from detector import bundle, repository

    folder = repository.find(model)
    manifest = bundle.read(folder).manifest
    if format == "json":
        output.print_json(msgspec.to_builtins(manifest))
    else:
        output.print_tables(*_tables(folder, manifest))


def _tables(folder: Path, manifest: Manifest) -> list[Table]:
    columns = [] if manifest.image else [(c.name, c.kind, _learnt(c), _missing(c, manifest)) for c in manifest.columns]
    proofs = [(f"{proof.file}, {proof.provider}", _proof(proof)) for proof in manifest.parity]
    files = [(name, f"{digest.bytes:,} bytes, SHA-256 {digest.sha256}") for name, digest in manifest.files.items()]
    return [
        output.facts_table(f"{manifest.name}, version {manifest.version}", _identity(folder, manifest)),
        output.facts_table("Decision", _decision(manifest)),
        output.facts_table("Training", _training(manifest)),
        output.table("Columns", ("column", "kind", "learnt", "missing"), columns),
        output.facts_table("Left out", [(ignored.name, ignored.reason) for ignored in manifest.ignored]),
        output.facts_table("Parity of torch and ONNX Runtime", proofs),
        output.facts_table("Libraries", list(manifest.libraries.items())),
        output.facts_table("Files", files),
    ]


def _identity(folder: Path, manifest: Manifest) -> list[output.Fact]:
    from detector import repository

    name = repository.model_folder(folder)
    pin = name / repository.PIN
    pinned = f"version {pin.read_text(errors='replace').strip()[:20]}" if pin.is_file() else "no: the highest version is used"
    return [
        ("folder", str(folder)),
        ("parent", f"version {manifest.parent}" if manifest.parent is not None else ""),
        ("all versions", ", ".join(map(str, repository.versions(name)))),
        ("pinned", pinned),
        ("created", f"{manifest.created} by residuum {manifest.residuum}, format {manifest.format}"),
    ]


def _decision(manifest: Manifest) -> list[output.Fact]:
    """Return how a score becomes a verdict, and what that promises."""
    decision, score, window = manifest.decision, manifest.score, manifest.window
    unnamed = [term for term in score.extra_terms if term not in score.name]
    extra_terms = f", with the extra terms {', '.join(unnamed)}" if unnamed else ""
    by_p_value = decision.by_p_value and not window
    return [
        ("score", f"{score.name}, in {score.unit}{extra_terms}"),
        ("threshold", f"{decision.threshold:.6g}, by {decision.criterion}"),
        ("promise", describe.promise(manifest)),
        ("privacy", describe.stored_rows(manifest)),
        ("anomaly", f"a p-value of at most {decision.false_alarm_rate:g}" if by_p_value else "a score above the threshold"),
        ("windows", describe.window(window) if window else ""),
        ("alarm", describe.alarm(manifest.alarm) if manifest.alarm else ""),
        ("classes", f"{describe.join_names(manifest.classes)}, by classifier.onnx" if manifest.classes else ""),
    ]


def _training(manifest: Manifest) -> list[output.Fact]:
    training = manifest.training
    settings = ", ".join(f"{name} {value}" for name, value in describe.settings(manifest).items())
    return [
        ("variant", f"{manifest.variant} ({settings})"),
        ("rows", describe.split(manifest)),
        ("seen as", _seen_as(manifest.image) if manifest.image else ""),
        ("order", training.order),
        ("rejected", describe.count(training.rows.rejected, "row") if training.rows.rejected else ""),
        ("missing", f"also {', '.join(map(repr, manifest.missing))}" if manifest.missing else ""),
        ("written", describe.written(manifest)),
        ("loss", describe.loss(manifest)),
        ("duration", f"{training.seconds:.3g} s on {training.device}, seed {training.seed}"),
    ]


def _seen_as(image: ImageSpec) -> str:
    return f"{describe.image(image)}, from {'files' if image.files else 'rows of a table, line by line'}"


def _learnt(column: Column) -> str:
    """Return the range or the vocabulary of a column."""
    text = _vocabulary(column) if column.vocabulary or column.rare else _range(column)
    return f"{text}, constant" if column.constant else text


def _missing(column: Column, manifest: Manifest) -> str:
    """Return the share of missing cells; the stored rate is smoothed, so 0 of n is stored as 1/(n + 2)."""
    none = 1 / (manifest.training.rows.training + 2)
    return describe.percentage(column.missing_rate) if column.missing_rate > none * 1.001 else "none"


def _range(column: Column) -> str:
    if column.lowest is None or column.highest is None:
        return ""
    if column.kind == "date":
        return f"{_date(column.lowest)} to {_date(column.highest)}"
    return f"{column.lowest:.6g} to {column.highest:.6g}"


def _vocabulary(column: Column) -> str:
    rare = f", {len(column.rare)} rare" if column.rare else ""
    return f"{len(column.vocabulary)} values: {describe.join_names(column.vocabulary, MAX_VALUES)}{rare}"


def _date(seconds: float) -> str:
    """Return epoch seconds as a date."""
    import datetime as dt

    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(" ", "seconds").removesuffix("+00:00")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.6g}"


def _proof(proof: Parity) -> str:
    from detector.bundle import DECODER

    on_cpu = f", {describe.count(proof.nodes_on_cpu, 'node')} fell back to the CPU" if proof.nodes_on_cpu else ""
    different = proof.verdicts_that_differ
    differences = (
        describe.plural(different, "category", "categories") if proof.file == DECODER else describe.count(different, "verdict")
    )
    return (
        f"{describe.count(proof.rows, 'row')}, largest difference {proof.largest_difference:.2g} "
        f"(allowed {proof.tolerance:.0e}), {differences} differ{on_cpu}"
    )
