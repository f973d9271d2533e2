"""What `embed`, `reconstruct` and `decode` share: files in, a file out, and how to tell of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from detector.files import expand
from detector.manifest import Manifest
from residuum.cli import output
from residuum.cli.optional_dependencies import need_drawing
from residuum.cli.output import Fact
from residuum.cli.score import inputs, watching
from serving.files.scoring import rejects_beside
from serving.files.transform import Transform, TransformJob, TransformSummary, transform_files


def job_of(
    files: Sequence[str],
    to: str,
    *,
    force: bool,
    decimal_comma: bool,
    image: str | None = None,
    manifest: Manifest | None = None,
) -> TransformJob:
    """Give the job that the options ask for; `manifest` is of the detector that reads the files, if one does."""
    if image is not None:
        need_drawing()
    paths, rejects = inputs(manifest, files) if manifest else tuple(expand(files)), rejects_beside(to)
    return TransformJob(paths=paths, to=to, rejects=rejects, force=force, decimal_comma=decimal_comma, image=image)


def rewrite(rewriter: Transform, job: TransformJob, folder: Path, done: str) -> None:
    """Rewrite the files and say how it went; `done` is what was done with the rows."""
    with watching(job.paths, done) as watch:
        rewritten = transform_files(rewriter, job, watch)
    tell(job.to, [*_facts(rewritten, job, folder, done)])


def tell(to: str, facts: Sequence[Fact]) -> None:
    """Tell facts and where the result stands, out of the result's own way."""
    output.print_facts([*facts, ("written", "" if to == "-" else to)], sys.stderr if to == "-" else sys.stdout)


def rows_by(rows: int, done: str, folder: Path, seconds: float) -> Fact:
    """Say how many rows something was done with, by what and how fast."""
    return ("rows", f"{rows:,} {done} by {folder} in {seconds:.3g} s, {rows / max(seconds, 1e-9):,.0f} rows/s")


def _facts(rewritten: TransformSummary, job: TransformJob, folder: Path, done: str) -> list[Fact]:
    """Say how the run went."""
    rejected = f"{output.count(rewritten.rejected, 'row')}{f', see {job.rejects}' if job.rejects else ''}"
    skipped = [
        output.count(rewritten.blank, "blank line") if rewritten.blank else "",
        f"{output.count(rewritten.infinite, 'infinite number')} taken as missing" if rewritten.infinite else "",
    ]
    unused = rewritten.unused
    return [
        rows_by(rewritten.rows, done, folder, rewritten.seconds),
        ("rejected", rejected if rewritten.rejected else "none"),
        *output.first_rejects(rewritten.first_rejects),
        ("skipped", ", ".join(filter(None, skipped))),
        ("unused", f"{output.count(len(unused), 'column')}: {output.join_names(unused)}" if unused else ""),
    ]
