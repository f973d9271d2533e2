"""Files in, a file of verdicts out: all of `residuum score` but for talking to a person.

    read a batch -> score it -> count it -> lay its verdicts out -> add them to the sink

Next: `reading` and `images` read batches, `layout` says what is written, `sinks` writes it, `summary` sums it up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import NamedTuple, Protocol

import msgspec
import polars as pl

from detector.batch import ImageBatch, TableBatch
from detector.columns import Column
from detector.decision import CalibrationCounts
from detector.errors import SettingError
from detector.files import ReadOptions
from detector.inputs import Input, Session
from detector.inputs.image import ImageInput
from detector.manifest import Manifest
from detector.reasons import Explain
from detector.rejects import Reject
from detector.scorer import Scorer
from detector.verdicts import Verdicts
from serving.files import output
from serving.files.layout import Layout, reject_table
from serving.files.reading import Progress, no_progress, read
from serving.files.sinks import COMPRESSED, LazySink, committed, format_of, open_sink
from serving.files.summary import ScoringSummary, SummaryBuilder


class VerdictProvider(Protocol):
    """What scores files: a scorer in this process, or a service."""

    @property
    def source(self) -> str:
        """Where the detector is."""

    @property
    def device(self) -> str:
        """Where its graph runs; "" where that is not known."""

    @property
    def manifest(self) -> Manifest:
        """What the detector is."""

    @property
    def input(self) -> Input:
        """What it takes."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that it reads."""

    @property
    def calibration_counts(self) -> CalibrationCounts:
        """How many calibration scores there are, and how many above the threshold."""

    def session(self) -> Session:
        """Start scoring a file."""


class ScoringRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which files to score, which columns to copy to the output, and which rows to explain with how many reasons."""

    paths: tuple[str, ...]
    keep: tuple[str, ...] = ()
    decimal_comma: bool = False
    encoding: str = ""
    explain: Explain = "anomalies"
    top: int = 3


class ScoringJob(msgspec.Struct, frozen=True, kw_only=True):
    """What to score, and where to write verdicts and rejected rows; with `rejects` "" the latter are not written."""

    request: ScoringRequest
    to: str
    rejects: str = ""
    heatmaps: str = ""  # a folder; "" draws none
    summary: str = ""  # a JSON file for the figures of the run; "" writes none
    only_anomalies: bool = False
    force: bool = False


class ScoredBatch(NamedTuple):
    """A batch and its verdicts."""

    batch: TableBatch | ImageBatch
    verdicts: Verdicts

    @property
    def rejects(self) -> list[Reject]:
        """The rows that could not be read or scored, in the order of the file."""
        return sorted(self.verdicts.rejects, key=lambda reject: reject.row)

    def kept(self, names: Sequence[str]) -> pl.DataFrame:
        """Return some columns of the accepted rows."""
        frame, accepted = self.batch.frame, self.verdicts.accepted
        return (frame if accepted.all() else frame.filter(pl.Series(accepted))).select(names)


def score_batches(scorer: VerdictProvider, request: ScoringRequest, progress: Progress = no_progress) -> Iterator[ScoredBatch]:
    """Score every row of every file; each file of series starts anew.

    Raises:
        TableError: a file lacks a column (checked for all of them first), cannot be read, or no file has a row.
    """
    session, current = scorer.session(), ""
    for batch in _batches(scorer, request, progress):
        if batch.file != current:
            session, current = scorer.session(), batch.file
        yield ScoredBatch(batch, session.score(batch, explain=request.explain, top=request.top))


def score_files(scorer: VerdictProvider, job: ScoringJob, progress: Progress = no_progress) -> ScoringSummary:
    """Score every row of every file and write the verdicts.

    Raises:
        TableError: a file cannot be read, or lacks a column.
        OutputError: the output exists already or cannot be written; nothing of it is left then.
        SettingError: the output's format is not known, or a kept column has the name of an output column.
    """
    builder = SummaryBuilder(scorer.columns, scorer.manifest.window.length if scorer.manifest.window else 1)
    request, reads_files = job.request, scorer.input.reads_files
    layout = Layout(
        several_files=len(request.paths) > 1,
        keep=request.keep,
        explain=request.explain,
        top=request.top,
        structured=format_of(job.to)[0] != "csv",
        only_anomalies=job.only_anomalies,
        images=reads_files,
    )
    _check_images(job, reads_files=reads_files)
    layout.check(classified=bool(scorer.manifest.classes), windowed=scorer.manifest.window is not None)
    check_outputs(job.to, job.rejects, request.paths, force=job.force)
    _check_summary(job)
    batches = score_batches(scorer, request, progress)
    if job.heatmaps:
        batches = _with_heatmaps(scorer, job, batches)
    sinks = open_sink(job.to, force=job.force), LazySink(job.rejects, force=job.force)
    verdicts, rejects = sinks
    with committed(*sinks):
        for scored in batches:
            builder.add(scored.batch, scored.verdicts)
            verdicts.add(layout.verdicts(scored.kept(layout.kept), scored.verdicts, scored.batch.file))
            if job.rejects and scored.verdicts.rejects:
                rejects.add(reject_table(scored.rejects, several_files=layout.several_files, images=reads_files))
    figures = builder.summary(scorer.manifest, scorer.calibration_counts)
    summary = msgspec.structs.replace(
        figures,
        model=scorer.source,
        version=scorer.manifest.version,
        device=scorer.device,
        files=request.paths,
        written=job.to,
        rejects=job.rejects if figures.rejected else "",
        heatmaps=job.heatmaps,
    )
    if job.summary:
        output.write(job.summary, msgspec.json.format(msgspec.json.encode(summary.record()), indent=2) + b"\n", force=job.force)
    return summary


def local_scorer(scorer: VerdictProvider) -> Scorer:
    """Return the scorer of image files, which must be in this process.

    Raises:
        SettingError: it is a service.
    """
    if not isinstance(scorer, Scorer):
        raise SettingError("image files are not sent to a service: give the bundle's folder, without --url")
    return scorer


def rejects_beside(to: str) -> str:
    """Return the default name for the rejected rows of an output; "" beside standard output, a device or no name."""
    path = PurePath(to)
    if to in {"", output.STDOUT} or str(path).startswith("/dev/"):
        return ""
    stem = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return str(stem.with_name(f"{stem.stem}.rejects.csv"))


def check_outputs(to: str, rejects: str, inputs: Sequence[str], *, force: bool) -> None:
    """Check that outputs may be written, before any work is done; `rejects` "" is none.

    Raises:
        OutputError: one exists already, is an input or the other output, or its folder does not exist.
    """
    output.check(to, inputs, force=force)
    if rejects:
        output.check(rejects, [*inputs, to], force=force)


def _batches(scorer: VerdictProvider, request: ScoringRequest, progress: Progress) -> Iterator[TableBatch] | Iterator[ImageBatch]:
    """Read the files."""
    if isinstance(scorer.input, ImageInput):
        from serving.files.images import read_images

        local_scorer(scorer)
        return read_images(request.paths, scorer.input.image, progress)
    options = ReadOptions(missing=scorer.manifest.missing, decimal_comma=request.decimal_comma, encoding=request.encoding)
    further = [name for name in scorer.input.required if name not in {column.name for column in scorer.columns}]
    return read(request.paths, scorer.columns, options, (*request.keep, *further), progress)


def _check_summary(job: ScoringJob) -> None:
    if not job.summary:
        return
    if job.summary == job.to == output.STDOUT:
        raise SettingError("verdicts and summary cannot both go to standard output: name a file for one of them")
    output.check(job.summary, [*job.request.paths, job.to, *filter(None, [job.rejects])], force=job.force)


def _check_images(job: ScoringJob, *, reads_files: bool) -> None:
    if reads_files and job.request.keep:
        raise SettingError("--keep copies columns of a table, and images have none: leave it out")
    if job.heatmaps and not reads_files:
        raise SettingError("--heatmaps draws on images, and this detector scores rows of tables: leave it out")


def _with_heatmaps(scorer: VerdictProvider, job: ScoringJob, batches: Iterable[ScoredBatch]) -> Iterator[ScoredBatch]:
    """Draw a heat map of each image."""
    from serving.files.heatmaps import HeatMaps

    heatmaps = HeatMaps(job.heatmaps, job.request.paths, local_scorer(scorer), force=job.force)
    for scored in batches:
        heatmaps.add(scored.batch.frame["file"].to_list(), scored.verdicts)
        yield scored
