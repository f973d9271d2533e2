"""`residuum replay`: send dead letters back to their topic."""

from __future__ import annotations

from typing import Annotated

import typer

from residuum import describe
from residuum.cli import output
from residuum.cli.stream import KAFKA, KAFKA_CONFIG
from residuum.optional_dependencies import require_streaming


def replay(
    *,
    source: Annotated[
        str, typer.Option("--from", help="The topic of dead letters: kafka://broker:9092/topic.dlq.", show_default=False)
    ],
    to: Annotated[str, typer.Option("--to", help="The topic to send them back to.", show_default=False)],
    reason: Annotated[
        str | None,
        typer.Option(
            help="Replay only dead letters with this reason, such as 'wrong type'; the others are skipped for good.",
            show_default="all",
        ),
    ] = None,
    group: Annotated[str, typer.Option(help="The consumer group, which remembers what was replayed.")] = "residuum-replay",
    kafka: KAFKA = None,
    kafka_config: KAFKA_CONFIG = None,
) -> None:
    """Send dead letters back to their topic, each exactly once, without the headers that describe the rejection."""
    require_streaming(kafka=True)
    from detector.errors import SettingError
    from serving.log import configure_logging
    from serving.stream.addresses import Topic, parse_address
    from serving.stream.kafka.replay import ReplayJob
    from serving.stream.kafka.replay import replay as run
    from serving.stream.settings import read_client_settings

    configure_logging("auto")
    dead_letters, topic = parse_address(source), parse_address(to)
    if not isinstance(dead_letters, Topic) or not isinstance(topic, Topic):
        raise SettingError("--from and --to must be Kafka topics, such as kafka://broker:9092/readings.dlq")
    with output.progress("replaying") as advance:
        job = ReplayJob(dead_letters, topic, group, reason, read_client_settings(kafka_config, kafka or ()))
        done = run(job, lambda so_far: advance(so_far.replayed, None, f"{so_far.replayed:,} dead letters"))
    skipped = f"; {describe.count(done.skipped, 'other')} skipped" if done.skipped else ""
    facts = [("replayed", f"{describe.count(done.replayed, 'dead letter')} to {topic}{skipped}")]
    if done.incomplete:
        advice = "their headers topic, partition and offset say where the originals are"
        facts.append(("not replayed", f"{describe.count(done.incomplete, 'dead letter')} too large to be kept whole: {advice}"))
    if done.expired:
        facts.append(
            ("expired", f"{describe.count(done.expired, 'dead letter')} before they were replayed: keep them for longer")
        )
    output.print_facts(facts)
