"""Files of rows in, a file of verdicts out: the whole of `residuum score` but for talking to a person.

    judge a block -> count it -> lay its verdicts out -> add them to the sink

Next: `judging` is where rows are read and scored, `layout` what is written, `sinks` how, `summary` what is said of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath

import msgspec

from detector.errors import SettingError
from serving.files import output
from serving.files.judging import Judge, Judged, Question, judge, of_images
from serving.files.layout import Layout, reject_table
from serving.files.reading import Watch, unwatched
from serving.files.sinks import COMPRESSED, LazySink, committed, format_of, open_sink
from serving.files.summary import ScoringSummary, SummaryBuilder


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to judge, and where the verdicts and the rejected rows go; `rejects` "" lets these go uncollected."""

    question: Question
    to: str
    rejects: str = ""
    heatmaps: str = ""  # a folder; "" draws none
    only_anomalies: bool = False
    force: bool = False

    @property
    def layout(self) -> Layout:
        """What the output shows."""
        return Layout(
            several_files=len(self.question.paths) > 1,
            keep=self.question.keep,
            explain=self.question.explain,
            top=self.question.top,
            structured=format_of(self.to)[0] != "csv",
            only_anomalies=self.only_anomalies,
        )


def score_files(scorer: Judge, job: Job, watch: Watch = unwatched) -> ScoringSummary:
    """Score every row of every file and write the verdicts down.

    Raises:
        TableError: a file cannot be read, or lacks a column.
        OutputError: the output is there already or cannot be written; nothing is left of it then.
        SettingError: the output's format is not known, or a kept column's name is taken.
    """
    tally = SummaryBuilder()
    images = scorer.manifest.image is not None and scorer.manifest.image.files
    layout = msgspec.structs.replace(job.layout, images=images)
    _check_images(job, images=images)
    layout.check(classified=bool(scorer.manifest.classes), windowed=scorer.manifest.window is not None)
    check_outputs(job.to, job.rejects, job.question.paths, force=job.force)
    blocks = _judged(scorer, job, watch) if images else judge(scorer, job.question, watch)
    sinks = open_sink(job.to), LazySink(job.rejects)
    verdicts, rejects = sinks
    with committed(*sinks):
        for judged in blocks:
            tally.add(judged)
            verdicts.add(layout.verdicts(judged))
            if job.rejects and judged.rejects:
                rejects.add(reject_table(judged.rejects, several_files=layout.several_files, images=images))
    return tally.summary(scorer)


def _check_images(job: Job, *, images: bool) -> None:
    """Refuse what only tables, or only images, can give."""
    if images and job.question.keep:
        raise SettingError("--keep carries columns of a table along, and images have none: leave it out")
    if job.heatmaps and not images:
        raise SettingError("--heatmaps draws on images, and this detector judges rows of tables: leave it out")


def _judged(scorer: Judge, job: Job, watch: Watch) -> Iterator[Judged]:
    """Judge images, and draw heat maps if they are asked for."""
    from serving.files.images import judge_images

    opened, image = of_images(scorer), scorer.manifest.image
    look = None
    if job.heatmaps and image:
        from serving.files.heatmaps import HeatMaps

        threshold = scorer.manifest.decision.threshold
        look = HeatMaps(job.heatmaps, job.question.paths, image, threshold, force=job.force).add
    return judge_images(opened, job.question, watch, look)


def rejects_beside(to: str) -> str:
    """Give the usual name for the rejected rows of an output; none beside standard output, a device or no name at all."""
    path = PurePath(to)
    if to in {"", output.STDOUT} or str(path).startswith("/dev/"):
        return ""
    stem = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return str(stem.with_name(f"{stem.stem}.rejects.csv"))


def check_outputs(to: str, rejects: str, inputs: Sequence[str], *, force: bool) -> None:
    """Refuse outputs that must not be written, before any work is done; `rejects` "" is none.

    Raises:
        OutputError: one is there already, is an input or the other one, or its folder is not there.
    """
    output.check(to, inputs, force=force)
    if rejects:
        output.check(rejects, [*inputs, to], force=force)
