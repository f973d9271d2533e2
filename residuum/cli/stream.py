"""`residuum stream`: verdicts on records that come without end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from residuum.cli import output
from residuum.cli.optional_dependencies import need_streaming
from residuum.cli.options import DEVICE, MODEL

if TYPE_CHECKING:
    from serving.stream.worker import StreamProgress

FROM = Annotated[
    str, typer.Option("--from", help="kafka://broker:9092/topic, a file that grows, or - for standard input.", show_default=False)
]
INTO = Annotated[
    str, typer.Option("--to", help="kafka://broker:9092/topic, a file to add to, or - for standard output.", show_default=False)
]
KAFKA = Annotated[
    list[str] | None,
    typer.Option(
        help="A setting of Kafka's client, key=value; may be repeated. file:PATH and env:NAME keep secrets off the command line.",
        show_default=False,
    ),
]
KAFKA_CONFIG = Annotated[Path | None, typer.Option(help="A file of such settings, key=value a line.", show_default=False)]
LIMITS = "Limits"


def stream(
    model: MODEL,
    *,
    source: FROM,
    to: INTO,
    dead_letters: Annotated[
        str | None,
        typer.Option(help="Where records go that cannot be judged.", show_default="the topic with .dlq; of lines their places"),
    ] = None,
    group: Annotated[str | None, typer.Option(help="The consumer group.", show_default="the model's name")] = None,
    worker_id: Annotated[
        str | None,
        typer.Option(
            "--id", help="A name that this worker keeps over restarts and no other has: it is back at once.", show_default="none"
        ),
    ] = None,
    device: DEVICE = "auto",
    guarantee: Annotated[
        Literal["exactly-once", "at-least-once"] | None,
        typer.Option(help="What holds when something breaks.", show_default="exactly-once between topics, else at-least-once"),
    ] = None,
    kafka: KAFKA = None,
    kafka_config: KAFKA_CONFIG = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="The file that keeps a followed file's position, and windows of series.", show_default="beside it, .position"
        ),
    ] = None,
    changelog: Annotated[
        str | None,
        typer.Option(
            help="The compacted topic that keeps the windows of a topic's series.", show_default="TOPIC.GROUP.changelog"
        ),
    ] = None,
    state_memory: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Bytes that windows of series may take; the coldest are forgotten.",
            show_default="a million series",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    metrics_port: Annotated[int | None, typer.Option(help="A port for the metrics.", show_default="none")] = None,
    metrics_host: Annotated[str, typer.Option(help="The address of that port; 0.0.0.0 is every one.")] = "127.0.0.1",
    log: Annotated[
        Literal["auto", "json", "console"], typer.Option(help="How the log is written; auto is for a person at a terminal.")
    ] = "auto",
    reasons: Annotated[int, typer.Option(min=0, max=100, help="How many reasons an anomaly gets at most.")] = 3,
    max_batch: Annotated[int, typer.Option(min=1, help="Records of a batch.", rich_help_panel=LIMITS)] = 2000,
    linger: Annotated[float, typer.Option(min=0, help="Seconds that a batch waits for more.", rich_help_panel=LIMITS)] = 0.05,
    max_record: Annotated[int, typer.Option(min=1, help="Bytes of a record.", rich_help_panel=LIMITS)] = 2**20,
    deadline: Annotated[float, typer.Option(min=0, help="Seconds from SIGTERM to the end.", rich_help_panel=LIMITS)] = 20.0,
) -> None:
    """Judge a stream: Kafka topics, standard input and output, files that grow; until SIGTERM or Ctrl-C."""
    need_streaming(kafka=any(address and "://" in address for address in (source, to, dead_letters)))
    from detector.repository import model_folder
    from serving.stream.addresses import parse_address
    from serving.stream.run import run
    from serving.stream.settings import StreamSettings, read_client_settings

    settings = StreamSettings(
        source=parse_address(source),
        sink=parse_address(to),
        dead_letters="default" if dead_letters is None else parse_address(dead_letters),
        group=group or f"residuum-{model_folder(model).name}",
        worker_id=worker_id,
        guarantee=guarantee,
        kafka=read_client_settings(kafka_config, kafka or ()),
        state=state,
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
    )
    with watching() as watch:
        run(model, settings, watch)


@contextmanager
def watching() -> Iterator[Callable[[StreamProgress], None]]:
    """Show on a terminal how far the worker is, and how fast."""
    began = time.monotonic()
    with output.progress("judged") as advance:

        def watch(done: StreamProgress) -> None:
            rate = done.records / (time.monotonic() - began)
            counts = f"{done.records:,} records, {done.anomalies:,} anomalies, {done.dead_letters:,} dead letters"
            advance(done.records, None, f"{counts}, {rate:,.0f} records/s")

        yield watch
