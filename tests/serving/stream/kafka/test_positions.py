"""What is skipped is told: expired records, gaps of compaction, and the start of a new group."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from detector.errors import SettingError, StreamError
from serving.log import configure_logging
from serving.stream.kafka.positions import EARLIEST, LATEST, GapObserver, PositionPolicy
from serving.stream.metrics import StreamMetrics
from serving.stream.run import open_worker
from tests.serving.stream.conftest import StartThread, Topics, WorkerThread, rows, until, values

VALUES = values(rows(20))


@pytest.fixture
def one_partition(broker: str) -> Topics:
    """Topics of one partition."""
    configure_logging("json")
    return Topics(broker, 1)


def is_scored(worker: WorkerThread, count: int) -> Callable[[], bool]:
    return lambda: worker.metric("residuum_stream_records_total", outcome="scored") == count


def score(start_thread: StartThread, topics: Topics, count: int, **settings: object) -> WorkerThread:
    """Run a worker until it has scored `count` records."""
    worker = start_thread(topics.settings(**settings))
    until(is_scored(worker, count))
    worker.stop()
    return worker


def events(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_expired_records_are_told_with_their_range(
    protocol: str, one_partition: Topics, start_thread: StartThread, capsys: pytest.CaptureFixture[str]
) -> None:
    topics, kafka = one_partition, {"group.protocol": protocol}
    topics.send(VALUES[:5])
    score(start_thread, topics, 5, kafka=kafka)
    topics.send(VALUES[5:12], 5)
    topics.expire(topics.readings, 10)  # 5 records and a mark of the transaction
    position = topics.readings, "0"
    worker = score(start_thread, topics, 2, kafka=kafka)
    labels = dict(zip(("topic", "partition"), position, strict=True))
    assert worker.metric("residuum_stream_skipped_records_total", **labels, cause="expired") == 5
    (warning,) = [event for event in events(capsys) if "position lost" in str(event["event"])]
    assert "offsets 5 to 9 expired before they were read" in str(warning["event"])
    assert (warning["level"], warning["topic"], warning["partition"]) == ("warning", topics.readings, 0)
    assert (warning["position"], warning["continued_at"]) == (5, 10)
    score(start_thread, topics, 0)
    assert "position lost" not in capsys.readouterr().err


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_each_partition_is_told_once(protocol: str, broker: str, start_thread: StartThread) -> None:
    """The client returns the errors of partitions one at a time, and some of them twice."""
    topics, kafka, partitions = Topics(broker, 12), {"group.protocol": protocol}, range(12)
    topics.send(VALUES * 6)
    began = time.monotonic()
    score(start_thread, topics, 120, kafka=kafka)
    assert time.monotonic() - began < 5  # half a second for each partition before
    ends = topics.ends()
    for partition in partitions:
        topics.put_partition(partition, VALUES[:5])
        topics.expire(topics.readings, ends[partition] + 3, partition)
    worker = score(start_thread, topics, 24, kafka=kafka)
    position = {"topic": topics.readings, "cause": "expired"}
    skipped = [worker.metric("residuum_stream_skipped_records_total", **position, partition=str(each)) for each in partitions]
    assert skipped == [3 if ends[each] else 0 for each in partitions]


def test_a_lost_position_may_stop_the_worker_or_skip_to_the_end(
    one_partition: Topics, start_thread: StartThread, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = one_partition
    topics.send(VALUES[:5])
    score(start_thread, topics, 5)
    topics.send(VALUES[5:12], 5)
    topics.expire(topics.readings, 10)
    worker = start_thread(topics.settings(on_lost_position="stop"))
    with pytest.raises(StreamError, match=f"topic {topics.readings}, partition 0, offset 5: .*offsets 5 to 9 expired"):
        worker.join()
    worker.error = None
    skipped = start_thread(topics.settings(on_lost_position="latest"))
    until(lambda: "position lost" in capsys.readouterr().err)
    topics.send(VALUES[:1], 20)
    until(is_scored(skipped, 1))
    skipped.stop()
    assert skipped.metric("residuum_stream_skipped_records_total", topic=topics.readings, partition="0", cause="reset") == 2


def test_a_position_beyond_the_end_is_told(
    one_partition: Topics, start_thread: StartThread, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after a topic was deleted and created again."""
    topics = one_partition
    topics.send(VALUES[:5])
    worker = start_thread(topics.settings(start="latest"))
    until(lambda: "no position yet" in capsys.readouterr().err)
    worker.stop()
    topics.commit(0, 500)
    score(start_thread, topics, 5)
    assert "position lost: the partition ends at offset 5" in capsys.readouterr().err


def test_a_new_group_starts_where_it_is_told_to(one_partition: Topics, start_thread: StartThread) -> None:
    topics = one_partition
    topics.send(VALUES[:3], timestamp=1_700_000_000_000)
    topics.send(VALUES[3:8], 3, timestamp=1_700_000_100_000)
    score(start_thread, topics, 8, group=f"{topics.group}-earliest")
    score(start_thread, topics, 5, group=f"{topics.group}-time", start="2023-11-14T22:14:00Z")
    latest = topics.settings(group=f"{topics.group}-latest", start="latest")
    first = start_thread(latest)
    until(lambda: first.metric("residuum_stream_assigned_partitions") == 1)
    time.sleep(1)
    first.stop()
    topics.send(VALUES[8:], 8)  # while no worker runs: the position is kept
    second = start_thread(latest)
    until(is_scored(second, 12))
    second.stop()


def test_start_is_a_word_or_a_time(pumps: object, one_partition: Topics) -> None:
    assert PositionPolicy.of("earliest", "stop") == (EARLIEST, "stop")
    assert PositionPolicy.of("latest", "stop").start == LATEST
    assert PositionPolicy.of("2026-01-31", "stop").start == PositionPolicy.of("2026-01-31T01:00:00+01:00", "stop").start
    with pytest.raises(SettingError, match="--start takes earliest, latest or a time"):
        open_worker(pumps, one_partition.settings(start="yesterday"), lambda _: None)  # type: ignore[arg-type]


@pytest.mark.long
def test_a_gap_of_compaction_is_told(broker: str, start_thread: StartThread, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    compaction = {"cleanup.policy": "compact", "segment.ms": "100", "max.compaction.lag.ms": "100"}
    topics = Topics(broker, 1, 1, {**compaction, "min.cleanable.dirty.ratio": "0.01"})
    topics.put_keyed(zip("abc", VALUES[:3], strict=True))
    topics.flush()
    score(start_thread, topics, 3)
    sent = 3

    def is_compacted() -> bool:
        nonlocal sent
        topics.put_keyed(zip("abc", VALUES[:3], strict=True))
        topics.flush()
        sent += 3
        return topics.read(topics.readings, 1)[0].offset > 3

    until(is_compacted)
    left = topics.read(topics.readings, 1)
    worker = score(start_thread, topics, len(left))
    gone = sent - 3 - len(left)
    assert worker.metric("residuum_stream_skipped_records_total", topic=topics.readings, partition="0", cause="compacted") == gone
    assert "records skipped: compaction removed them" in capsys.readouterr().err


def test_gaps_are_counted_once_and_their_offsets_told(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    metrics = StreamMetrics(list)
    gaps = GapObserver("readings", metrics, lambda partition: 3 if partition == 0 else -1)

    def skipped(partition: int) -> float | None:
        labels = {"topic": "readings", "partition": str(partition), "cause": "compacted"}
        return metrics.registry.get_sample_value("residuum_stream_skipped_records_total", labels)

    gaps.read([(0, 5), (1, 7), (0, 6), (1, 8)])
    assert (skipped(0), skipped(1)) == (2, None)
    (warning,) = events(capsys)
    assert (warning["records"], warning["offsets"], warning["partition"]) == (2, ["3 to 4"], 0)
    gaps.read([(0, 5), (0, 6), (0, 8)])  # after a rewind
    gaps.set_position(1, 20)
    gaps.read([(1, 30)])
    assert (skipped(0), skipped(1)) == (3, 10)
    assert not events(capsys)  # one warning a minute
