"""`residuum inspect`: what a bundle says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from residuum.cli import output, windows
from residuum.cli.options import FORMAT, MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from detector.columns import Column
    from detector.images import ImageSpec
    from detector.manifest import Manifest, Parity

MOST_WORDS = 4


def inspect(model: MODEL, *, format: FORMAT = "text") -> None:  # noqa: A002 - the option's name
    """Show what a detector learnt, what it promises, and the proof that its graph is the trained network."""
    import msgspec

    from detector import bundle, repository

    folder = repository.find(model)
    manifest = bundle.read(folder).manifest
    if format == "json":
        output.print_json(msgspec.to_builtins(manifest))
    else:
        output.print_tables(*_tables(folder, manifest))


def _tables(folder: Path, manifest: Manifest) -> list[Table]:
    """Lay the manifest out for a person."""
    image = manifest.image
    return [
        output.facts(f"{manifest.name}, version {manifest.version}", _identity(folder, manifest)),
        output.facts("Decision", _decision(manifest)),
        output.facts("Training", _training(manifest)),
        output.table(
            "Columns",
            ("column", "kind", "learnt", "missing"),
            [] if image else [(each.name, each.kind, _learnt(each), _missing(each, manifest)) for each in manifest.columns],
        ),
        output.facts("Left out", [(ignored.name, ignored.reason) for ignored in manifest.ignored]),
        output.facts(
            "Proof: torch against ONNX Runtime", [(f"{proof.file}, {proof.provider}", _proof(proof)) for proof in manifest.parity]
        ),
        output.facts("Libraries", list(manifest.libraries.items())),
        output.facts(
            "Files", [(name, f"{digest.bytes:,} bytes, SHA-256 {digest.sha256}") for name, digest in manifest.files.items()]
        ),
    ]


def _identity(folder: Path, manifest: Manifest) -> list[output.Fact]:
    """Say which bundle this is, and which others stand beside it."""
    from detector import repository

    name = repository.model_folder(folder)
    pin = name / repository.PIN
    return [
        ("folder", str(folder)),
        ("parent", f"version {manifest.parent}" if manifest.parent is not None else ""),
        ("versions there", ", ".join(map(str, repository.versions(name)))),
        (
            "pinned",
            f"version {pin.read_text(errors='replace').strip()[:20]}" if pin.is_file() else "no: the highest version is taken",
        ),
        ("created", f"{manifest.created} by residuum {manifest.residuum}, format {manifest.format}"),
    ]


def _decision(manifest: Manifest) -> list[output.Fact]:
    """Say how a score becomes a verdict, and what that promises."""
    decision, score = manifest.decision, manifest.score
    extra = f", with the terms {', '.join(score.extra_terms)} beside the columns'" if score.extra_terms else ""
    rate = decision.false_alarm_rate
    window, alarm = manifest.window, manifest.alarm
    nouns = f"{output.row_noun(manifest)}s"
    promises: dict[str, str] = {
        "false_alarm_rate": f"at most {output.percentage(rate or 0)} of normal {nouns} are flagged (p-value at or below it)",
        "labels": "chosen on labelled rows; p-values do not decide",
        "value": "a value that somebody chose; p-values do not decide",
    }
    return [
        ("score", f"{score.name}, in {score.unit}{extra}"),
        ("threshold", f"{decision.threshold:.6g}, by {decision.criterion}"),
        ("promise", windows.promise(manifest, None) if window and rate else promises[decision.promise]),
        ("windows", windows.described(window) if window else ""),
        ("alarm", windows.ends(alarm) if alarm else ""),
        ("classes", f"{output.join_names(manifest.classes)}, told by classifier.onnx" if manifest.classes else ""),
        ("if", "the future is like the calibration stretch" if manifest.training.order != "shuffled" and not window else ""),
    ]


def _training(manifest: Manifest) -> list[output.Fact]:
    """Say how the detector came to be."""
    training, rows = manifest.training, manifest.training.rows
    settings = ", ".join(f"{name} {value}" for name, value in manifest.settings.items())
    return [
        ("variant", f"{manifest.variant} ({settings})"),
        (
            "rows",
            f"{rows.training:,} to learn from, each of four blocks of time held out once to calibrate"
            if manifest.window
            else f"{rows.training:,} to learn from, {rows.validation:,} to validate, {rows.calibration:,} to calibrate",
        ),
        ("seen as", _seen(manifest.image) if manifest.image else ""),
        ("order", training.order),
        ("rejected", output.count(rows.rejected, "row") if rows.rejected else ""),
        ("missing", f"also {', '.join(map(repr, manifest.missing))}" if manifest.missing else ""),
        ("loss", f"{training.loss:.4g}, best of {training.steps:,} steps at {training.best_step:,}"),
        ("took", f"{training.seconds:.3g} s on {training.device}, seed {training.seed}"),
    ]


def _seen(image: ImageSpec) -> str:
    """Say what the detector sees of an image."""
    mode = "grey" if image.mode == "grey" else "in colour"
    return f"{image.size} pixels, {mode}, from {'files' if image.files else 'rows of a table, line by line'}"


def _learnt(column: Column) -> str:
    """Say what is known of a column: its range, its words."""
    learnt = _words(column) if column.vocabulary or column.rare else _range(column)
    return f"{learnt}, constant" if column.constant else learnt


def _missing(column: Column, manifest: Manifest) -> str:
    """Say how many cells are missing; the rate is smoothed, so that none of n is told as 1/(n + 2)."""
    none = 1 / (manifest.training.rows.training + 2)
    return output.percentage(column.missing_rate) if column.missing_rate > none * 1.001 else "none"


def _range(column: Column) -> str:
    """Say between which numbers or dates training's cells lay."""
    if column.lowest is None or column.highest is None:
        return ""
    if column.kind == "date":
        return f"{_date(column.lowest)} to {_date(column.highest)}"
    return f"{column.lowest:.6g} to {column.highest:.6g}"


def _words(column: Column) -> str:
    """Say which texts training saw."""
    rare = f", {len(column.rare)} rare" if column.rare else ""
    return f"{len(column.vocabulary)} values: {output.join_names(column.vocabulary, MOST_WORDS)}{rare}"


def _date(seconds: float) -> str:
    """Write epoch seconds as a date."""
    import datetime as dt

    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(" ", "seconds").removesuffix("+00:00")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.6g}"


def _proof(proof: Parity) -> str:
    """Say what the proof found."""
    from detector.bundle import DECODER

    fallen = f", {output.count(proof.nodes_on_cpu, 'node')} fell back to the CPU" if proof.nodes_on_cpu else ""
    apart = proof.verdicts_that_differ
    differ = output.plural(apart, "category", "categories") if proof.file == DECODER else output.count(apart, "verdict")
    return (
        f"{output.count(proof.rows, 'row')}, largest difference {proof.largest_difference:.2g} "
        f"(allowed {proof.tolerance:.0e}), {differ} differ{fallen}"
    )
