"""Verdicts and dead letters in topics carry the key, headers and timestamp of their record."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

from detector.files.stream import BOM
from serving.stream.kafka.sink import CombinedSink
from tests.serving.stream.conftest import StartThread, Topics, check, rows, until, values
from tests.serving.stream.fakes import FakeEndpoints, FakeSink

FRAME = rows(300)


def test_verdicts_and_dead_letters_carry_key_headers_and_timestamp(
    topics: Topics, start_thread: StartThread, pumps: Path
) -> None:
    deep, long = b'{"temperature":' + b"[" * 50 + b"]" * 50 + b"}", json.dumps({"machine": "x" * 20_000}).encode()
    big = json.dumps({"machine": "x" * 300_000}).encode()
    bad = [b'{"temperature": "hot"}', b"{", None, b"", deep, long, big, b'{"a": 1}\n{"a": 2}', b"\xff"]
    indented = [json.dumps(row, indent=1).encode() for row in FRAME[:5].to_dicts()]
    created = int(time.time() * 1000) - 60_000
    topics.send(values(FRAME), headers=[("trace", b"7"), ("empty", None)], timestamp=created)
    following = topics.send(bad, FRAME.height, headers=[("trace", b"8")])
    topics.send(indented, following)
    worker = start_thread(topics.settings(max_record=200_000))
    dead_letters = topics.read(topics.dead_letters, len(bad))
    verdicts = sorted(topics.read(topics.verdicts, FRAME.height + 5), key=lambda verdict: verdict.number)
    check([verdict.content for verdict in verdicts[: FRAME.height]], FRAME, pumps)
    check([verdict.content for verdict in verdicts[FRAME.height :]], FRAME[:5], pumps)
    first = verdicts[0]
    assert first.headers == {"trace": b"7", "empty": None}
    assert first.timestamp == created
    assert first.content["model"] == "pumps"
    assert first.content["version"] == 1
    assert first.content["origin"] == {"topic": topics.readings, "partition": first.partition, "offset": 0}

    by_number = {dead_letter.number: dead_letter for dead_letter in dead_letters}
    in_order = [by_number[FRAME.height + number] for number in range(len(bad))]
    assert [dead_letter.value for dead_letter in in_order] == bad
    reasons = [dead_letter.headers["__residuum.errors.reason"].decode() for dead_letter in in_order]
    assert reasons == ["wrong type", "not JSON", "tombstone", "not JSON", "too deep", "too big", "too big", *["not JSON"] * 2]
    headers = in_order[0].headers
    assert headers["trace"] == b"8"
    assert headers["__residuum.errors.column"] == b"temperature"
    assert headers["__residuum.errors.topic"] == topics.readings.encode()
    assert headers["__residuum.errors.partition"] in {b"0", b"1"}
    assert int(headers["__residuum.errors.offset"]) > 0
    assert abs(int(headers["__residuum.errors.time"]) / 1000 - time.time()) < 60

    until(lambda: worker.metric("residuum_stream_records_total", outcome="scored") == FRAME.height + 5)
    assert worker.metric("residuum_stream_records_total", outcome="dead_letter") == len(bad)
    assert worker.metric("residuum_stream_dead_letters_total", reason="too big") == 2
    assert worker.metric("residuum_stream_transactions_total", result="committed") >= 1
    assert worker.metric("residuum_stream_assigned_partitions") == 2
    assert worker.metric("residuum_stream_rebalances_total", event="assigned") == 1
    assert worker.metric("residuum_rows_total", model="pumps", version="1") == FRAME.height + 5
    assert worker.metric("residuum_rejected_rows_total", model="pumps", version="1", reason="number") == 1
    assert worker.metric("residuum_stream_record_age_seconds_count") >= 1
    lag = {"topic": topics.readings, "partition": "0"}
    until(lambda: worker.registry.get_sample_value("residuum_stream_lag", lag) is not None)
    worker.stop()


def test_tombstones_may_be_skipped(topics: Topics, start_thread: StartThread) -> None:
    topics.send([None, *values(FRAME)[:3], None])
    worker = start_thread(topics.settings(tombstones="skip"))
    until(lambda: worker.metric("residuum_stream_records_total", outcome="skipped") == 2)
    until(lambda: worker.metric("residuum_stream_records_total", outcome="scored") == 3)
    topics.send([None])  # a batch without any other record
    until(lambda: worker.metric("residuum_stream_records_total", outcome="skipped") == 3)
    worker.stop()
    assert worker.metric("residuum_stream_records_total", outcome="dead_letter") == 0
    assert len(topics.read(topics.verdicts, 3)) == 3


def test_other_formats_and_envelopes_are_named(topics: Topics, start_thread: StartThread) -> None:
    row = FRAME.rows(named=True)[0]
    change = {"before": None, "after": row, "op": "c"}
    records = {
        b"\x00\x00\x00\x00\x2a\x02press": ("schema-registry frame", "schema ID 42"),
        gzip.compress(b"{}"): ("compressed", "gzip"),
        "\ufeff{}".encode("utf-16"): ("UTF-16", "UTF-16"),
        b"{}": ("no column of this model", "no column of this model"),
        json.dumps({"Temperature": 1}).encode(): ("no column of this model", "'Temperature'"),
        json.dumps(change).encode(): ("no column of this model", "'before', 'after', 'op'"),
    }
    topics.send(records)
    topics.send([BOM + values(FRAME)[0]], len(records))  # a mark that text may begin with
    worker = start_thread(topics.settings())
    dead_letters = sorted(topics.read(topics.dead_letters, len(records)), key=lambda dead_letter: dead_letter.number)
    assert len(topics.read(topics.verdicts, 1)) == 1
    worker.stop()
    for dead_letter, (value, (reason, found)) in zip(dead_letters, records.items(), strict=True):
        assert dead_letter.value == value
        assert dead_letter.headers["__residuum.errors.reason"].decode() == reason
        assert found in dead_letter.headers["__residuum.errors.found"].decode()
    assert b"the columns are in 'after'" in dead_letters[-1].headers["__residuum.errors.expected"]


def test_the_first_of_two_sinks_is_durable_before_the_second_commits() -> None:
    endpoints = FakeEndpoints([])
    names: list[str] = []

    class NamedSink(FakeSink):
        def __init__(self, name: str) -> None:
            super().__init__(endpoints)
            self._name = name

        def flush(self) -> None:
            names.append(f"{self._name}.flush")

        def commit(self, position: object) -> None:  # noqa: ARG002 - `StreamSink`
            names.append(f"{self._name}.commit")

        def discard(self) -> None:
            names.append(f"{self._name}.discard")

    sink = CombinedSink(NamedSink("lines"), NamedSink("topic"))
    sink.flush()
    sink.commit(None)
    sink.discard()
    assert names == ["lines.flush", "topic.flush", "lines.commit", "topic.commit", "lines.discard", "topic.discard"]
