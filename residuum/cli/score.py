"""`residuum score`: read files of rows, write a file of verdicts."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from residuum import describe
from residuum.cli import output, placeholders
from residuum.cli.command import OptionHelp, allow_interrupted_reads, given, help_of, lazy_help
from residuum.cli.options import DECIMAL_COMMA, DEVICE, ENCODING, FILES, FORCE, MODEL, TO, Device
from residuum.cli.output import Fact
from residuum.optional_dependencies import require_client

if TYPE_CHECKING:
    from detector.manifest import Manifest
    from serving.files.scoring import VerdictProvider
    from serving.files.summary import ScoringSummary
    from serving.files.unseen import UnseenColumn

SOME_REJECTED = 3  # exit code: rows were rejected under --strict, or no row could be scored
ANOMALIES = 4  # exit code: a row was flagged under --fail-on-anomalies
MAX_UNSEEN_VALUES = 5  # named in the summary, of each column
MAX_UNSEEN_COLUMNS = 10


def _help() -> dict[str, OptionHelp]:
    from serving.files.scoring import ScoringRequest

    texts = help_of(ScoringRequest)
    return {"top": texts["top"], "reasons": texts["explain"]}


@lazy_help(_help)
def score(
    model: MODEL,
    files: FILES,
    *,
    url: Annotated[
        str | None,
        typer.Option(
            help="Score at a running service, such as http://localhost:8080; MODEL is then a model's name there: pumps or "
            "pumps/2. The environment variable RESIDUUM_TOKEN holds the token.",
            show_default=False,
        ),
    ] = None,
    to: TO,
    rejects: Annotated[
        str | None, typer.Option(help="The file for rows that cannot be read.", show_default="beside the output")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="A column to copy into the output; repeatable.", show_default=False)
    ] = None,
    heatmaps: Annotated[
        str | None,
        typer.Option(help="For images: a folder for heat maps, which show where the error is.", show_default=False),
    ] = None,
    only_anomalies: Annotated[bool, typer.Option("--only-anomalies", help="Write only anomalies.")] = False,
    top: Annotated[int | None, typer.Option(min=1, help="The largest number of reasons per row.")] = None,
    reasons: Annotated[Literal["anomalies", "all", "none"] | None, typer.Option(help="The rows that get reasons.")] = None,
    device: DEVICE = "auto",
    force: FORCE = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with code 3 if any row was rejected; without it, only if no row could be scored."),
    ] = False,
    fail_on_anomalies: Annotated[
        bool,
        typer.Option(
            "--fail-on-anomalies", help="Exit with code 4 if any row was flagged, once all output is written; code 3 comes first."
        ),
    ] = False,
    summary: Annotated[
        str | None,
        typer.Option(help="A JSON file for what the command prints at its end, for programs.", show_default=False),
    ] = None,
    decimal_comma: DECIMAL_COMMA = False,
    encoding: ENCODING = "",
) -> None:
    """Score files: write a verdict for each row, with reasons for the anomalies."""
    from serving.files.scoring import ScoringJob, ScoringRequest, rejects_beside, score_files

    to = placeholders.fill(to)
    with _opened(model, url, device) as scorer:
        paths = find_inputs(scorer.manifest, files)
        kept = tuple(dict.fromkeys(keep or ()))
        job = ScoringJob(
            request=ScoringRequest(
                paths=paths, keep=kept, decimal_comma=decimal_comma, encoding=encoding, **given(top=top, explain=reasons)
            ),
            to=to,
            rejects=rejects_beside(to) if rejects is None else placeholders.fill(rejects),
            heatmaps=placeholders.fill(heatmaps or ""),
            summary=placeholders.fill(summary or ""),
            only_anomalies=only_anomalies,
            force=force,
        )
        with reading_progress(paths, noun=describe.row_noun(scorer.manifest)) as progress:
            result = score_files(scorer, job, progress)
    output.print_facts(_facts(scorer.manifest, result), sys.stderr if "-" in {to, job.summary} else sys.stdout)
    if (strict and result.rejected) or result.is_empty:
        raise typer.Exit(SOME_REJECTED)
    if fail_on_anomalies and result.anomalies:
        raise typer.Exit(ANOMALIES)


def find_inputs(manifest: Manifest, files: Sequence[str]) -> tuple[str, ...]:
    """Return the files to read: tables, or images including those in folders, as the detector requires.

    Raises:
        SettingError: the files are tables and the detector scores images, or the reverse.
        TableError: a file does not exist.
    """
    from detector import images
    from detector.errors import SettingError
    from detector.files import expand
    from residuum.optional_dependencies import require_images

    paths = expand(files)
    scores_images = manifest.image is not None and manifest.image.files
    if scores_images and not images.are_image_paths(paths):
        raise SettingError(f"{manifest.name} scores images: give PNG or JPEG files or folders of them; {paths[0]} is neither")
    if not scores_images and images.are_image_paths(paths):
        raise SettingError(
            f"{manifest.name} scores rows of tables: give CSV, Parquet or NDJSON files; {paths[0]} is none of these"
        )
    if not scores_images:
        return tuple(paths)
    require_images()
    return tuple(images.find_images(paths))


@contextlib.contextmanager
def reading_progress(paths: tuple[str, ...], action: str = "scored", noun: str = "row") -> Iterator[Callable[[int, int], None]]:
    """Show how much of the files is read, and how fast; yields the function to call with bytes read and rows done."""
    allow_interrupted_reads()
    sizes_known = all(Path(path).is_file() for path in paths)
    total = sum(Path(path).stat().st_size for path in paths) if sizes_known else None
    began = time.monotonic()
    with output.progress(action, total) as advance:
        yield lambda read, rows: advance(read, total, f"{rows:,} {noun}s, {rows / (time.monotonic() - began):,.0f} {noun}s/s")


@contextlib.contextmanager
def _opened(model: Path, url: str | None, device: Device) -> Iterator[VerdictProvider]:
    """Open a bundle, or a model of a service."""
    if url:
        require_client()
        from serving.client import RemoteScorer

        with contextlib.closing(RemoteScorer(url, model.as_posix(), os.environ.get("RESIDUUM_TOKEN", ""))) as service:
            yield service
        return
    from detector.scorer import Scorer

    yield Scorer.open(model, device)


def _facts(manifest: Manifest, summary: ScoringSummary) -> list[Fact]:
    noun = describe.row_noun(manifest)
    device = f" on {summary.device}" if summary.device else ""
    speed = f"{summary.seconds:.3g} s{device}, {summary.rows_per_second:,.0f} {noun}s/s"
    not_scored = (
        f"{describe.count(summary.not_scored, 'row')}: a window warms up, or the stride skips them" if summary.not_scored else ""
    )
    return [
        (f"{noun}s", f"{summary.rows:,} scored by {summary.model} in {speed}"),
        ("not scored", not_scored),
        ("anomalies", f"{summary.anomalies:,} ({describe.percentage(summary.alarm_rate)}){_expected_rate(manifest, summary)}"),
        output.rejected_fact(summary.rejected, noun, summary.rejects),
        *output.first_rejects(summary.first_rejects, numbered=noun == "row"),
        ("notes", output.skipped_text(summary.blank, summary.infinite)),
        output.unused_fact(summary.unused),
        *_unseen_facts(manifest, summary.unseen),
        ("drift", _drift_text(manifest, summary)),
        ("written", "" if summary.written == "-" else summary.written),
        ("heat maps", summary.heatmaps),
        ("warning", summary.warning),
    ]


def _unseen_facts(manifest: Manifest, columns: Sequence[UnseenColumn]) -> list[Fact]:
    """Return a line for each column with values that training never saw: the most frequent ones, and how many rows."""
    notes = {column.name: column.unseen_note for column in manifest.columns}
    facts = []
    for label, column in zip(["unseen", *[""] * MAX_UNSEEN_COLUMNS], columns[:MAX_UNSEEN_COLUMNS], strict=False):
        named = [f"{each.value} ({describe.count(each.rows, 'row')})" for each in column.values[:MAX_UNSEEN_VALUES]]
        others = column.rows - sum(each.rows for each in column.values[:MAX_UNSEEN_VALUES])
        further = f" and others ({describe.count(others, 'row')})" if others else ""
        facts.append((label, f"{column.column}: {', '.join(named)}{further}, {notes[column.column]}"))
    rest = len(columns) - MAX_UNSEEN_COLUMNS
    return [*facts, ("", f"and in {describe.count(rest, 'column')} more")] if rest > 0 else facts


def _drift_text(manifest: Manifest, summary: ScoringSummary) -> str:
    """Return the columns that have changed since training, and what to do; empty if none has."""
    if not summary.drifted:
        return ""
    from detector.profile import LARGE_CHANGE

    order = manifest.training.order
    time = manifest.window.time if manifest.window else order.removeprefix("by ") if order.startswith("by ") else "COLUMN"
    named = describe.join_names(f"{drift.column} ({drift.stability_index:.2f})" for drift in summary.drifted)
    return (
        f"{named} differ from the training rows (population stability index above {LARGE_CHANGE}): if these rows are normal, "
        f"add them to the training rows and learn the newest state with `residuum train --time {time}`"
    )


def _expected_rate(manifest: Manifest, summary: ScoringSummary) -> str:
    """Return the false-alarm rate to compare the share of anomalies with."""
    rate, noun = describe.percentage(summary.promise.rate), describe.row_noun(manifest)
    if window := manifest.window:
        alarms = describe.count(summary.alarms, "alarm")
        return f" in {alarms}; promised: alarms begin in at most {rate} of normal stretches of {window.length} rows"
    if manifest.decision.by_p_value:
        return f"; promised: {describe.bound(manifest.decision)} {rate} of normal {noun}s"
    return f"; of the normal calibration {noun}s about {rate}"
