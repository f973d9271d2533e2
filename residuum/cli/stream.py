"""`residuum stream`: score an endless stream of records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from residuum.cli import output
from residuum.cli.command import OptionHelp, given, help_of, lazy_help
from residuum.cli.options import MODEL, Device
from residuum.optional_dependencies import require_streaming

if TYPE_CHECKING:
    from serving.stream.worker import StreamProgress

FROM = Annotated[
    str,
    typer.Option(
        "--from", help="The source: kafka://broker:9092/topic, a growing file, or - for standard input.", show_default=False
    ),
]
INTO = Annotated[
    str,
    typer.Option(
        "--to", help="The sink: kafka://broker:9092/topic, a file to append to, or - for standard output.", show_default=False
    ),
]
KAFKA = Annotated[
    list[str] | None,
    typer.Option(
        help="A setting of the Kafka client, key=value; repeatable. The value may be file:PATH or env:NAME, which keeps "
        "secrets off the command line.",
        show_default=False,
    ),
]
KAFKA_CONFIG = Annotated[
    Path | None, typer.Option(help="A file of settings of the Kafka client, one key=value per line.", show_default=False)
]
LIMITS = "Limits (sizes in bytes, times in seconds)"


def _help() -> dict[str, OptionHelp]:
    from serving.stream.settings import StreamSettings

    texts = help_of(StreamSettings)
    del texts["dead_letters"]  # the default is an address that depends on source and sink
    return texts


@lazy_help(_help)
def stream(
    model: MODEL,
    *,
    source: FROM,
    to: INTO,
    dead_letters: Annotated[
        str | None,
        typer.Option(
            help="Where records go that cannot be scored.",
            show_default="the topic's name with the suffix .dlq; without a topic, the sink",
        ),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="The consumer group.", show_default="residuum- and the name of the model's folder")
    ] = None,
    worker_id: Annotated[
        str | None,
        typer.Option(
            "--id",
            help="A name that is unique to this worker and stays the same when it restarts: it then resumes at once.",
            show_default="none",
        ),
    ] = None,
    device: Annotated[Device | None, typer.Option(help="Where to compute; auto uses a GPU if there is one.")] = None,
    guarantee: Annotated[
        Literal["exactly-once", "at-least-once"] | None,
        typer.Option(
            help="The delivery guarantee after a failure.", show_default="exactly-once between topics, else at-least-once"
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="Where a new group starts in a topic: earliest, latest, or a time such as 2026-01-31T18:30:00Z.",
        ),
    ] = None,
    on_lost_position: Annotated[
        Literal["stop", "earliest", "latest"] | None,
        typer.Option(
            help="What to do when the records at the group's position are gone: stop, or warn and continue at the earliest or "
            "the latest record.",
        ),
    ] = None,
    tombstones: Annotated[
        Literal["dead-letter", "skip"] | None,
        typer.Option(help="What to do with tombstones, records of a topic without a value: write a dead letter, or skip them."),
    ] = None,
    kafka: KAFKA = None,
    kafka_config: KAFKA_CONFIG = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="The file that keeps the position in a source file, and the windows of its series.",
            show_default="beside the source, suffix .position",
        ),
    ] = None,
    rotation_idle: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Time without new lines after which the worker leaves a rotated source file for the next one.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    changelog: Annotated[
        str | None,
        typer.Option(
            help="The compacted topic that keeps the windows of a topic's series.", show_default="TOPIC.GROUP.changelog"
        ),
    ] = None,
    metrics_port: Annotated[int | None, typer.Option(help="A port for the metrics.", show_default="none")] = None,
    metrics_host: Annotated[str | None, typer.Option(help="The address of the metrics port; 0.0.0.0 for all.")] = None,
    log: Annotated[
        Literal["auto", "json", "console"] | None,
        typer.Option(help="The format of the log; auto is console at a terminal, else json."),
    ] = None,
    reasons: Annotated[int | None, typer.Option(min=0, max=100, help="The largest number of reasons per anomaly.")] = None,
    max_batch: Annotated[int | None, typer.Option(min=1, help="Records in a batch.", rich_help_panel=LIMITS)] = None,
    linger: Annotated[
        float | None, typer.Option(min=0, help="Time that a batch waits for more records.", rich_help_panel=LIMITS)
    ] = None,
    max_record: Annotated[int | None, typer.Option(min=1, help="The size of a record.", rich_help_panel=LIMITS)] = None,
    state_memory: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Memory for the windows of series; beyond it, those unused for longest are dropped.",
            show_default="enough for a million series",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(min=0, help="The longest time from SIGTERM to the exit.", rich_help_panel=LIMITS)
    ] = None,
) -> None:
    """Score a stream: Kafka topics, standard input and output, growing files; until SIGTERM or Ctrl-C."""
    require_streaming(kafka=any(address and "://" in address for address in (source, to, dead_letters)))
    from detector.repository import model_folder
    from serving.stream.addresses import parse_address
    from serving.stream.run import run
    from serving.stream.settings import StreamSettings, read_client_settings, require_applicable

    settings = StreamSettings(
        source=parse_address(source),
        sink=parse_address(to),
        group=group or f"residuum-{model_folder(model).name}",
        kafka=read_client_settings(kafka_config, kafka or ()),
        **given(
            dead_letters=None if dead_letters is None else parse_address(dead_letters),
            worker_id=worker_id,
            guarantee=guarantee,
            start=start,
            on_lost_position=on_lost_position,
            tombstones=tombstones,
            state=state,
            rotation_idle=rotation_idle,
            changelog=changelog,
            state_memory=state_memory,
            device=device,
            metrics_host=metrics_host,
            metrics_port=metrics_port,
            log=log,
            reasons=reasons,
            max_batch=max_batch,
            linger=linger,
            max_record=max_record,
            deadline=deadline,
        ),
    )
    options = {
        "--group": group,
        "--id": worker_id,
        "--kafka": kafka,
        "--kafka-config": kafka_config,
        "--start": start,
        "--on-lost-position": on_lost_position,
        "--tombstones": tombstones,
        "--changelog": changelog,
        "--state": state,
        "--rotation-idle": rotation_idle,
    }
    require_applicable(settings, [option for option, value in options.items() if value not in (None, [])])
    with _progress() as report:
        run(model, settings, report)


@contextmanager
def _progress() -> Iterator[Callable[[StreamProgress], None]]:
    """Show on a terminal how many records were scored, and how fast."""
    began = time.monotonic()
    with output.progress("scored") as advance:

        def report(done: StreamProgress) -> None:
            rate = done.records / (time.monotonic() - began)
            counts = f"{done.records:,} records, {done.anomalies:,} anomalies, {done.dead_letters:,} dead letters"
            advance(done.records, None, f"{counts}, {rate:,.0f} records/s")

        yield report
