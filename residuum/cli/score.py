"""`residuum score`: files of rows in, a file of verdicts out."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from residuum.cli import output
from residuum.cli.command import let_ctrl_c_end_a_read
from residuum.cli.optional_dependencies import require_client
from residuum.cli.options import DECIMAL_COMMA, DEVICE, FILES, FORCE, MODEL, TO, Device
from residuum.cli.output import Fact

if TYPE_CHECKING:
    from detector.manifest import Manifest
    from serving.files.scoring import ScoringJob, VerdictProvider
    from serving.files.summary import ScoringSummary

SOME_REJECTED = 3  # exit code under --strict


def score(
    model: MODEL,
    files: FILES,
    *,
    url: Annotated[
        str | None,
        typer.Option(
            help="A service that judges, http://localhost:8080; MODEL is then a name there, pumps or pumps/2. "
            "Its token stands in the environment: RESIDUUM_TOKEN.",
            show_default=False,
        ),
    ] = None,
    to: TO,
    rejects: Annotated[
        str | None, typer.Option(help="Where rows go that cannot be read.", show_default="beside the output")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="A column to carry into the output; may be repeated.", show_default=False)
    ] = None,
    heatmaps: Annotated[
        str | None, typer.Option(help="Of images: a folder for pictures of where the error is.", show_default=False)
    ] = None,
    only_anomalies: Annotated[bool, typer.Option("--only-anomalies", help="Write anomalies only.")] = False,
    top: Annotated[int, typer.Option(min=1, help="How many reasons a row gets at most.")] = 3,
    reasons: Annotated[Literal["anomalies", "all", "none"], typer.Option(help="Which rows get reasons.")] = "anomalies",
    device: DEVICE = "auto",
    force: FORCE = False,
    strict: Annotated[bool, typer.Option("--strict", help="End with exit code 3 if rows were rejected.")] = False,
    decimal_comma: DECIMAL_COMMA = False,
) -> None:
    """Score files: one verdict a row, with reasons for the anomalies."""
    from serving.files.scoring import ScoringJob, ScoringRequest, rejects_beside, score_files

    kept = tuple(dict.fromkeys(keep or ()))
    kept_apart = rejects_beside(to) if rejects is None else rejects
    with _opened(model, url, device) as (scorer, place):
        paths = inputs(scorer.manifest, files)
        request = ScoringRequest(paths=paths, keep=kept, decimal_comma=decimal_comma, explain=reasons, top=top)
        drawn = heatmaps or ""
        job = ScoringJob(request=request, to=to, rejects=kept_apart, heatmaps=drawn, only_anomalies=only_anomalies, force=force)
        with watching(paths, noun=output.row_noun(scorer.manifest)) as watch:
            summary = score_files(scorer, job, watch)
    output.print_facts(_facts(scorer, place, job, summary), sys.stderr if to == "-" else sys.stdout)
    if strict and summary.rejected:
        raise typer.Exit(SOME_REJECTED)


def inputs(manifest: Manifest, files: Sequence[str]) -> tuple[str, ...]:
    """Give the files to judge: tables, or images and those in folders, by what the detector learnt from.

    Raises:
        SettingError: they are of the other kind.
        TableError: one is not there.
    """
    from detector import images
    from detector.errors import SettingError
    from detector.files import expand
    from residuum.cli.optional_dependencies import need_images

    paths = expand(files)
    learnt = manifest.image is not None and manifest.image.files
    if learnt != images.are_image_paths(paths):
        kinds = ("images: give it PNG or JPEG files, or a folder of them", "rows of tables: give it CSV, Parquet or NDJSON files")
        raise SettingError(f"{manifest.name} judges {kinds[not learnt]}; {paths[0]} is none")
    if not learnt:
        return tuple(paths)
    need_images()
    return tuple(images.find_images(paths))


@contextlib.contextmanager
def watching(paths: tuple[str, ...], done: str = "scored", noun: str = "row") -> Iterator[Callable[[int, int], None]]:
    """Show how far the files are read, and how fast."""
    let_ctrl_c_end_a_read()
    regular = all(Path(path).is_file() for path in paths)
    total = sum(Path(path).stat().st_size for path in paths) if regular else None
    began = time.monotonic()
    with output.progress(done, total) as advance:
        yield lambda read, rows: advance(read, total, f"{rows:,} {noun}s, {rows / (time.monotonic() - began):,.0f} {noun}s/s")


@contextlib.contextmanager
def _opened(model: Path, url: str | None, device: Device) -> Iterator[tuple[VerdictProvider, tuple[str, str]]]:
    """Open a bundle, or a service's; gives it, and who and where that is."""
    if url:
        require_client()
        from serving.client import RemoteScorer

        with contextlib.closing(RemoteScorer(url, model.as_posix(), os.environ.get("RESIDUUM_TOKEN", ""))) as service:
            yield service, (f"{url} ({model.as_posix()})", "")
        return
    from detector.scorer import Scorer

    scorer = Scorer.open(model, device)
    yield scorer, (str(scorer.folder), f" on {scorer.graph.device}")


def _facts(scorer: VerdictProvider, place: tuple[str, str], job: ScoringJob, summary: ScoringSummary) -> list[Fact]:
    """Say how the run went."""
    noun = output.row_noun(scorer.manifest)
    rejected = f"{output.count(summary.rejected, noun)}{f', see {job.rejects}' if job.rejects else ''}"
    by, on = place
    speed = f"{summary.seconds:.3g} s{on}, {summary.rows_per_second:,.0f} {noun}s/s"
    skipped = [
        output.count(summary.blank, "blank line") if summary.blank else "",
        f"{output.count(summary.infinite, 'infinite number')} taken as missing" if summary.infinite else "",
    ]
    return [
        (f"{noun}s", f"{summary.rows:,} scored by {by} in {speed}"),
        (
            "unjudged",
            f"{output.count(summary.not_scored, 'row')}: warming up, or between windows" if summary.not_scored else "",
        ),
        ("anomalies", f"{summary.anomalies:,}, {output.percentage(summary.alarm_rate)} of them; {_promised(scorer, summary)}"),
        ("rejected", rejected if summary.rejected else "none"),
        *output.first_rejects(summary.first_rejects, numbered=noun == "row"),
        ("skipped", ", ".join(filter(None, skipped))),
        (
            "unused",
            f"{output.count(len(summary.unused), 'column')}: {output.join_names(summary.unused)}" if summary.unused else "",
        ),
        ("written", "" if job.to == "-" else job.to),
        ("heat maps", job.heatmaps),
        ("warning", summary.warning),
    ]


def _promised(scorer: VerdictProvider, summary: ScoringSummary) -> str:
    """Say what share of alarms was to be expected."""
    rate = output.percentage(summary.promise.rate)
    if window := scorer.manifest.window:
        return f"in {output.count(summary.alarms, 'alarm')}; {rate} of normal stretches of {window.length} rows may begin one"
    if scorer.manifest.decision.promise == "false_alarm_rate":
        return f"promised: at most {rate} of normal {output.row_noun(scorer.manifest)}s"
    return f"of the calibration's normal {output.row_noun(scorer.manifest)}s about {rate}"
