"""Messages that are too large for their topic are written without their largest part, and the worker goes on."""

from __future__ import annotations

import hashlib
import json
import random

import pytest

from serving.log import configure_logging
from serving.stream.addresses import Topic
from serving.stream.kafka.producer import BY_KEY
from serving.stream.kafka.replay import ReplayCounts, ReplayJob, replay
from serving.stream.kafka.size_limits import SizeLimit
from serving.stream.settings import Guarantee
from tests.serving.stream.conftest import StartThread, Topics, rows, until, values
from tests.tables import planted_anomalies

RANDOM = random.Random(1)  # noqa: S311 - no secret
FRAME = rows(10)


@pytest.mark.long
@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_what_is_too_large_for_its_topic_is_omitted(
    guarantee: Guarantee, topics: Topics, start_thread: StartThread, capsys: pytest.CaptureFixture[str]
) -> None:
    """A value of a dead letter, or the headers of a record; the worker goes on, after a restart too."""
    configure_logging("json")
    malformed = [RANDOM.randbytes(size) for size in (1_048_500, 1_048_400, 900_000)]
    attachment = RANDOM.randbytes(1_048_250)
    topics.send(malformed, headers=[("trace", b"7")])
    topics.send([b"{"], 3, headers=[("attachment", attachment)])
    topics.send(values(planted_anomalies(1)), 4, headers=[("attachment", attachment)])  # reasons make its verdict larger
    topics.send(values(FRAME), 5)
    worker = start_thread(topics.settings(guarantee=guarantee))
    until(lambda: worker.metric("residuum_stream_records_total", outcome="dead_letter") == 4)
    until(lambda: worker.metric("residuum_stream_records_total", outcome="scored") == 11)
    worker.stop()
    topics.send(values(FRAME), 20)
    restarted = start_thread(topics.settings(guarantee=guarantee))
    until(lambda: restarted.metric("residuum_stream_records_total", outcome="scored") == 10)
    restarted.stop()

    found = {dead_letter.number: dead_letter for dead_letter in topics.read(topics.dead_letters, 4)}
    originals = {(one.partition, one.offset): one.value for one in topics.read(topics.readings, 25)}
    assert set(found) == {0, 1, 2, 3}
    for number in (0, 1):
        headers = {name.removeprefix("__residuum.errors."): value.decode() for name, value in found[number].headers.items()}
        assert found[number].value is None
        assert headers["sha256"] == hashlib.sha256(malformed[number]).hexdigest()
        assert headers["size"] == str(len(malformed[number]))
        assert (headers["omitted"], headers["trace"]) == ("value", "7")
        assert headers["topic"] == topics.readings
        assert originals[int(headers["partition"]), int(headers["offset"])] == malformed[number]
    assert found[2].value == malformed[2]
    verdict = next(verdict for verdict in topics.read(topics.verdicts, 21) if verdict.number == 4)
    for message in (found[3], verdict):
        assert message.headers["__residuum.errors.omitted"] == b"headers"
        assert "attachment" not in message.headers
    assert found[3].value == b"{"
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    warnings = [event["record"] for event in events if event["event"] == "message too large: parts of it are omitted"]
    assert all(f"topic {topics.readings}, partition " in record and ", offset " in record for record in warnings)
    retried = [event["records"] for event in events if event["event"] == "batch not delivered: retrying"]
    assert all(f"topic {topics.readings}, partition " in records and ", offset " in records for records in retried)
    if guarantee == "at-least-once":
        return  # dead letters that were sent with one that is too large are there twice
    job = ReplayJob(
        Topic(topics.bootstrap, topics.dead_letters), Topic(topics.bootstrap, topics.readings), f"{topics.group}-back", None, {}
    )
    assert replay(job, lambda _: None) == ReplayCounts(replayed=1, incomplete=3)


def test_a_message_keeps_what_its_topic_accepts() -> None:
    limit = SizeLimit().lowered([9000, 7000], [])
    ours, theirs = ("__residuum.errors.reason", b"not JSON"), ("trace", b"7" * 500)
    digest = [
        ("__residuum.errors.sha256", hashlib.sha256(b"v" * 7000).hexdigest().encode()),
        ("__residuum.errors.size", b"7000"),
    ]
    small = b"v" * 6000, b"key", [theirs, ours], 5, BY_KEY
    large = b"v" * 7000, b"key", [theirs, ours], 5, BY_KEY
    assert limit.fit(small, is_verdict=False) == (small, [])
    expected = [theirs, ours, ("__residuum.errors.omitted", b"value"), *digest]
    assert limit.fit(large, is_verdict=False) == ((None, b"key", expected, 5, BY_KEY), ["value"])
    (value, key, *_), omitted = limit.fit((b"{}", b"k" * 7000, [], 5, BY_KEY), is_verdict=True)
    assert (value, key, omitted) == (b"{}", None, ["key"])
    assert limit.lowered([9000], []) == limit  # nothing is left to omit
    lowered = limit.lowered([3], [[ours], [theirs, ours]])
    assert lowered.headers == len("trace") + 500
    assert lowered.fit(small, is_verdict=False)[0][2] == [ours, ("__residuum.errors.omitted", b"headers")]
    assert lowered.lowered([3], [[ours]]) == lowered
