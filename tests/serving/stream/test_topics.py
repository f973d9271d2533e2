"""The worker between topics: what verdicts and letters carry, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka.admin import AdminClient  # type: ignore[attr-defined]  # it is there

from tests.data.make_bundle import write_minimal
from tests.kafka.brokers import QUIET, make_topics
from tests.ports import free_port
from tests.serving.stream.conftest import (
    QUICK,
    RUN,
    SEED,
    TORTURE,
    WITHIN,
    Start,
    Topics,
    check,
    memory,
    metrics,
    rows,
    until,
    values,
)

FRAME = rows(300)
MALFORMED = 1_000_000 if TORTURE else 20_000


def residuum(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", RUN, *map(str, words)], capture_output=True, text=True, check=False, timeout=60)


def test_verdicts_and_letters_carry_what_the_record_had(topics: Topics, start: Start, pumps: Path) -> None:
    deep, long = b'{"temperature":' + b"[" * 50 + b"]" * 50 + b"}", json.dumps({"machine": "x" * 20_000}).encode()
    big = json.dumps({"machine": "x" * 300_000}).encode()
    bad = [b'{"temperature": "hot"}', b"{", None, b"", deep, long, big, b'{"a": 1}\n{"a": 2}', b"\xff"]
    spread = [json.dumps(row, indent=1).encode() for row in FRAME[:5].to_dicts()]
    made = int(time.time() * 1000) - 60_000
    topics.send(values(FRAME), headers=[("trace", b"7"), ("empty", None)], timestamp=made)
    after = topics.send(bad, FRAME.height, headers=[("trace", b"8")])
    topics.send(spread, after)
    port = free_port()
    worker = start(*topics.flags, "--metrics-port", port, "--max-record", 200_000)
    letters = topics.read(topics.letters, len(bad))
    verdicts = sorted(topics.read(topics.verdicts, FRAME.height + 5), key=lambda each: int(each.key or b""))
    check([each.said for each in verdicts[: FRAME.height]], FRAME, pumps)
    check([each.said for each in verdicts[FRAME.height :]], FRAME[:5], pumps)
    first = verdicts[0]
    assert first.headers == {"trace": b"7", "empty": None}
    assert first.time == made
    assert first.said["model"] == "pumps"
    assert first.said["version"] == 1
    assert first.said["origin"] == {"topic": topics.readings, "partition": first.partition, "offset": 0}

    by_key = {int(each.key or b""): each for each in letters}
    said = [by_key[FRAME.height + at] for at in range(len(bad))]
    assert [each.value for each in said] == bad
    reasons = [each.headers["__residuum.errors.reason"].decode() for each in said]
    assert reasons == [
        "wrong type",
        *["not JSON"] * 3,
        "too deep",
        "too big",
        "too big",
        *["not JSON"] * 2,
    ]
    headers = said[0].headers
    assert headers["trace"] == b"8"
    assert headers["__residuum.errors.column"] == b"temperature"
    assert headers["__residuum.errors.topic"] == topics.readings.encode()
    assert headers["__residuum.errors.partition"] in {b"0", b"1"}
    assert int(headers["__residuum.errors.offset"]) > 0
    assert abs(int(headers["__residuum.errors.time"]) / 1000 - time.time()) < 60

    found = metrics(port)
    assert found["residuum_stream_records_total", "scored"] == FRAME.height + 5
    assert found["residuum_stream_records_total", "dead_letter"] == len(bad)
    assert found["residuum_stream_dead_letters_total", "too big"] == 2
    assert found["residuum_stream_transactions_total", "committed"] >= 1
    assert found["residuum_stream_assigned_partitions",] == 2
    assert found["residuum_stream_rebalances_total", "assigned"] == 1
    assert found["residuum_rows_total", "pumps", "1"] == FRAME.height + 5
    assert found["residuum_rejected_rows_total", "pumps", "number", "1"] == 1
    assert found["residuum_stream_record_age_seconds_count",] >= 1
    until(lambda: (("residuum_stream_lag", topics.readings, "0") in metrics(port)) or topics.send(values(FRAME[:1]), 900))
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 10
    assert '"guarantee":"exactly-once"' in worker.log


def test_at_least_once_loses_nothing(topics: Topics, start: Start, pumps: Path) -> None:
    topics.send(values(FRAME) * 10)
    flags = [*topics.flags, *QUICK, "--guarantee", "at-least-once", "--id", "a", "--max-batch", 100]
    worker = start(*flags)
    topics.read(topics.verdicts, 500)
    worker.kill()
    start(*flags)
    verdicts = topics.read(topics.verdicts, 10 * FRAME.height)
    until(
        lambda: (
            {int(each.key or b"") for each in topics.read(topics.verdicts, 10 * FRAME.height)} == set(range(10 * FRAME.height))
        )
    )
    by_key = {int(each.key or b""): each.said for each in verdicts}
    check([by_key[at] for at in range(FRAME.height)], FRAME, pumps)


def test_the_new_protocol_of_groups_works(topics: Topics, start: Start, pumps: Path) -> None:
    topics.send(values(FRAME))
    worker = start(*topics.flags, "--kafka", "group.protocol=consumer", "--id", "b")
    verdicts = sorted(topics.read(topics.verdicts, FRAME.height), key=lambda each: int(each.key or b""))
    check([each.said for each in verdicts], FRAME, pumps)
    assert worker.stop() == 0


@pytest.mark.long
def test_two_workers_with_one_id_end_with_a_message(topics: Topics, start: Start) -> None:
    flags = [*topics.flags, *QUICK, "--id", "same"]
    pair = [start(*flags), start(*flags)]
    sent = 0

    def one_has_ended() -> bool:
        nonlocal sent
        sent = topics.send(values(FRAME[:5]), sent)
        return any(each.process.poll() is not None for each in pair)

    until(one_has_ended)
    (ended,) = [each for each in pair if each.process.poll() is not None]
    assert ended.process.returncode == 2, ended.log
    assert "has the same --id" in ended.log
    sent = topics.send(values(FRAME[:5]), sent)
    keys = [int(each.key or b"") for each in topics.read(topics.verdicts, sent)]
    assert sorted(keys) == list(range(sent))


def test_without_its_topics_it_stops_and_says_so(topics: Topics, broker: str) -> None:
    done = residuum("stream", "tests/data/bundle-1", *topics.flags, "--dead-letters", f"kafka://{broker}/nowhere")
    assert done.returncode == 2
    assert f"kafka://{broker}/nowhere" in done.stderr.splitlines()[-1]
    assert "create the topic first" in done.stderr.splitlines()[-1]


def test_settings_are_masked_and_some_are_fixed(topics: Topics, start: Start, tmp_path: Path) -> None:
    secret, config = "hunter2-hunter2", tmp_path / "client.properties"
    (tmp_path / "password").write_text(secret)
    config.write_text(f"# a comment\nsasl.password=file:{tmp_path / 'password'}\nsasl.username={secret}\n")
    worker = start(*topics.flags, "--kafka-config", config, "--kafka", f"ssl.key.password={secret}")
    topics.send(values(FRAME[:1]))
    assert len(topics.read(topics.verdicts, 1)) == 1
    assert worker.stop() == 0
    assert '"sasl.password":"***"' in worker.log
    assert secret not in worker.log
    flags = [*topics.flags, "--debug"]
    for setting, said in {
        "enable.auto.commit=true": "cannot be set",
        f"security.protocol={secret}": "***",
        "no.such.setting=1": "no.such.setting",
        "novalue": "key=value",
        "sasl.password=env:NOT_THERE_AT_ALL": "NOT_THERE_AT_ALL",
        "sasl.password=file:/no/such/file": "/no/such/file",
    }.items():
        done = residuum("stream", "tests/data/bundle-1", *flags[:-1], "--kafka", setting)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr.splitlines()[-1]
        assert secret not in done.stderr


def test_a_new_version_is_taken_up_between_two_batches(topics: Topics, start: Start, tmp_path: Path) -> None:
    models = tmp_path / "pumps"
    write_minimal(models / "1", name="pumps")
    worker = start(*topics.flags, at=models)
    topics.send(values(FRAME[:10]))
    assert {each.said["version"] for each in topics.read(topics.verdicts, 10)} == {1}
    (models / "2").mkdir()
    (models / "2" / "manifest.json").write_text("{}")
    until(lambda: "version rejected" in worker.log)
    write_minimal(models / "3", name="pumps", version=3)
    until(lambda: "version loaded" in worker.log)
    topics.send(values(FRAME[10:20]), 10)
    versions = {int(each.key or b""): each.said["version"] for each in topics.read(topics.verdicts, 20)}
    assert versions == {at: 1 if at < 10 else 3 for at in range(20)}


def test_letters_are_put_back_once(topics: Topics, start: Start) -> None:
    topics.send([b'{"temperature": "hot"}'] * 3 + [b"{"] * 2, headers=[("trace", b"7")])
    worker = start(*topics.flags)
    assert len(topics.read(topics.letters, 5)) == 5
    assert worker.stop() == 0
    back = [
        "replay",
        "--from",
        topics.url(topics.letters),
        "--to",
        topics.url(topics.readings),
        "--group",
        topics.group + "-back",
    ]
    for words, told in ((["--reason", "wrong type"], "3 letters"), ([], "0 letters")):
        done = residuum(*back, *words)
        assert done.returncode == 0, done.stderr
        assert told in done.stdout
    records = topics.read(topics.readings, 8)
    assert len(records) == 8
    assert all(each.headers == {"trace": b"7"} for each in records)
    assert sorted(each.value or b"" for each in records) == sorted([b'{"temperature": "hot"}'] * 6 + [b"{"] * 2)


def test_a_broker_that_is_not_there_is_waited_for(start: Start) -> None:
    nobody = f"kafka://127.0.0.1:{free_port()}"
    worker = start("--from", f"{nobody}/a", "--to", f"{nobody}/b", "--deadline", "1")
    until(lambda: "does not answer" in worker.log, 40)
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 5


def test_nothing_malformed_is_lost(topics: Topics, start: Start) -> None:
    """Rows with bytes changed, cut and put in: whatever becomes of them, each has one answer, and memory is flat."""
    random, clean = np.random.default_rng(SEED), values(FRAME)
    sent = [_spoilt(clean[at % len(clean)], random) for at in range(MALFORMED)]
    port = free_port()
    worker = start(*topics.flags, "--metrics-port", port)
    topics.send(sent[:5000])
    until(lambda: "partitions assigned" in worker.log and _answered(port) >= 5000)
    before = memory(worker.process.pid)
    topics.send(sent[5000:], 5000)
    until(lambda: _answered(port) >= len(sent), WITHIN + len(sent) / 1000)
    within, answered = WITHIN + len(sent) / 1000, metrics(port)
    letters = topics.read(topics.letters, int(answered["residuum_stream_records_total", "dead_letter"]), within)
    verdicts = topics.read(topics.verdicts, int(answered["residuum_stream_records_total", "scored"]), within)
    assert all(each.value == sent[int(each.key or b"")] for each in letters)
    assert sorted(int(each.key or b"") for each in (*letters, *verdicts)) == list(range(len(sent)))
    assert memory(worker.process.pid) < before + 60


def _answered(port: int) -> float:
    """Ask a worker how many records it has answered."""
    return sum(value for (name, *_), value in metrics(port).items() if name == "residuum_stream_records_total")


def _spoilt(value: bytes, random: np.random.Generator) -> bytes:
    """Spoil a record."""
    place, kind = int(random.integers(len(value))), int(random.integers(5))
    noise = random.bytes(int(random.integers(1, 8)))
    return [
        value[:place],
        value[:place] + noise + value[place:],
        value[:place] + noise + value[place + len(noise) :],
        value[:place] + value[place + len(noise) :],
        noise,
    ][kind]


@pytest.mark.long
def test_a_dead_letter_topic_that_goes_away_stops_the_worker(topics: Topics, start: Start) -> None:
    """Nothing is lost: what could not be written comes again once the topic is back."""
    topics.send([b"{", *values(FRAME[:10])])
    worker = start(*topics.flags)
    assert len(topics.read(topics.verdicts, 10)) == 10
    admin = AdminClient({"bootstrap.servers": topics.bootstrap, **QUIET})
    admin.delete_topics([topics.letters])[topics.letters].result(30)
    topics.send([b"[", *values(FRAME[10:20])], 11)
    assert worker.process.wait(120) == 2
    assert topics.letters in worker.log.splitlines()[-1]
    make_topics(topics.bootstrap, **{topics.letters: 1})
    worker = start(*topics.flags)
    assert [each.value for each in topics.read(topics.letters, 1)] == [b"["]
    assert len(topics.read(topics.verdicts, 20)) == 20
    assert worker.stop() == 0
