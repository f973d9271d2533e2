"""`residuum replay`: dead letters put back."""

from __future__ import annotations

from typing import Annotated

import typer

from residuum.cli import output
from residuum.cli.optional_dependencies import need_streaming
from residuum.cli.stream import KAFKA, KAFKA_CONFIG


def replay(
    *,
    source: Annotated[str, typer.Option("--from", help="The dead letters: kafka://broker:9092/topic.dlq.", show_default=False)],
    to: Annotated[str, typer.Option("--to", help="The topic that they came from.", show_default=False)],
    reason: Annotated[
        str | None, typer.Option(help="Put back these alone, such as 'wrong type'; the others count as done.", show_default="all")
    ] = None,
    group: Annotated[str, typer.Option(help="The consumer group, which remembers what was put back.")] = "residuum-replay",
    kafka: KAFKA = None,
    kafka_config: KAFKA_CONFIG = None,
) -> None:
    """Put dead letters back, each once, without the headers that say why they were some."""
    need_streaming(kafka=True)
    from detector.errors import SettingError
    from serving.stream.addresses import Topic, parse_address
    from serving.stream.kafka.replay import ReplayJob
    from serving.stream.kafka.replay import replay as run
    from serving.stream.settings import read_client_settings

    letters, back = parse_address(source), parse_address(to)
    if not isinstance(letters, Topic) or not isinstance(back, Topic):
        raise SettingError("letters are put back from topic to topic: kafka://broker:9092/readings.dlq")
    with output.progress("put back") as advance:
        job = ReplayJob(letters, back, group, reason, read_client_settings(kafka_config, kafka or ()))
        done = run(job, lambda sofar: advance(sofar.replayed, None, f"{sofar.replayed:,} letters"))
    passed = f"; {output.count(done.skipped, 'other')} passed over" if done.skipped else ""
    output.print_facts([("put back", f"{output.count(done.replayed, 'letter')} into {back}{passed}")])
