"""What `embed`, `reconstruct` and `decode` share: reading files, writing one file, and a summary."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from detector.files import expand
from detector.manifest import Manifest
from residuum.cli import output, placeholders
from residuum.cli.output import Fact
from residuum.cli.score import SOME_REJECTED, find_inputs, reading_progress
from residuum.optional_dependencies import require_plotting
from serving.files.scoring import rejects_beside
from serving.files.transform import Transform, TransformJob, TransformSummary, transform_files


def job_of(
    files: Sequence[str],
    to: str,
    *,
    force: bool,
    decimal_comma: bool,
    encoding: str,
    image: str | None = None,
    manifest: Manifest | None = None,
) -> TransformJob:
    """Return the job for a command's options; `manifest` is that of the detector that reads the files, if one does."""
    if image is not None:
        require_plotting()
    paths, to = find_inputs(manifest, files) if manifest else tuple(expand(files)), placeholders.fill(to)
    return TransformJob(
        paths=paths, to=to, rejects=rejects_beside(to), force=force, decimal_comma=decimal_comma, encoding=encoding, image=image
    )


def transform(rewriter: Transform, job: TransformJob, folder: Path, action: str) -> None:
    """Transform the files and print a summary; `action` is what happened to the rows, such as "embedded"."""
    with reading_progress(job.paths, action) as progress:
        result = transform_files(rewriter, job, progress)
    print_result(job.to, _facts(result, job, folder, action))
    if result.rejected and not result.rows:
        raise typer.Exit(SOME_REJECTED)


def print_result(to: str, facts: Sequence[Fact]) -> None:
    """Print facts and the output file; to standard error if the output itself goes to standard output."""
    output.print_facts([*facts, ("written", "" if to == "-" else to)], sys.stderr if to == "-" else sys.stdout)


def rows_fact(rows: int, action: str, folder: Path, seconds: float) -> Fact:
    """Return how many rows were processed, by which bundle, and how fast."""
    return ("rows", f"{rows:,} {action} by {folder} in {seconds:.3g} s, {rows / max(seconds, 1e-9):,.0f} rows/s")


def _facts(result: TransformSummary, job: TransformJob, folder: Path, action: str) -> list[Fact]:
    return [
        rows_fact(result.rows, action, folder, result.seconds),
        output.rejected_fact(result.rejected, "row", job.rejects),
        *output.first_rejects(result.first_rejects),
        ("notes", output.skipped_text(result.blank, result.infinite)),
        output.unused_fact(result.unused),
    ]
