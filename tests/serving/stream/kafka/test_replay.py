"""Dead letters are copied back once."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from detector.errors import SettingError
from residuum.cli import app
from serving.stream.addresses import Topic
from serving.stream.kafka.replay import ReplayCounts, ReplayJob, replay
from tests.serving.stream.conftest import StartThread, Topics


def test_dead_letters_are_replayed_once(topics: Topics, start_thread: StartThread) -> None:
    topics.send([b'{"temperature": "hot"}'] * 3 + [b"{"] * 2, headers=[("trace", b"7")])
    worker = start_thread(topics.settings())
    assert len(topics.read(topics.dead_letters, 5)) == 5
    worker.stop()
    source, to, group = topics.url(topics.dead_letters), topics.url(topics.readings), f"{topics.group}-back"
    command = ["replay", "--from", source, "--to", to, "--group", group, "--reason", "wrong type"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "3 " in result.stdout
    job = ReplayJob(Topic(topics.bootstrap, topics.dead_letters), Topic(topics.bootstrap, topics.readings), group, None, {})
    assert replay(job, lambda _: None) == ReplayCounts(0, 0)
    assert replay(job._replace(group=f"{group}-2", reason="not JSON"), lambda _: None) == ReplayCounts(2, 3)
    records = topics.read(topics.readings, 10)
    assert len(records) == 10
    assert all(record.headers == {"trace": b"7"} for record in records)
    assert sorted(record.value or b"" for record in records) == sorted([b'{"temperature": "hot"}'] * 6 + [b"{"] * 4)


def test_dead_letters_that_expired_are_told(topics: Topics) -> None:
    source, to = Topic(topics.bootstrap, topics.readings), Topic(topics.bootstrap, topics.verdicts)
    job = ReplayJob(source, to, topics.group, None, {})
    topics.commit(0, 2)
    topics.put_partition(0, [b"{"] * 6)
    topics.expire(topics.readings, 5)
    assert replay(job, lambda _: None) == ReplayCounts(replayed=1, expired=3)
    assert replay(job, lambda _: None) == ReplayCounts()


def test_one_transaction_needs_the_same_brokers() -> None:
    with pytest.raises(SettingError, match="must name the same brokers"):
        replay(ReplayJob(Topic("a:9092", "x.dlq"), Topic("b:9092", "x"), "group", None, {}), lambda _: None)
