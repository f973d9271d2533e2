"""The process: signals, the deadline, metrics, the log, exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka.admin import AdminClient  # type: ignore[attr-defined] # documented, but not exported
from typer.testing import CliRunner

from residuum.cli import app
from serving.stream.addresses import Topic
from serving.stream.run import log_fields
from serving.stream.settings import StreamSettings
from tests.kafka.brokers import QUIET, make_topics
from tests.ports import free_port
from tests.serving.stream.conftest import (
    RUN,
    SEED,
    TIMEOUT,
    TORTURE,
    StartProcess,
    Topics,
    memory,
    metrics,
    rows,
    until,
    values,
)

FRAME = rows(300)
MALFORMED = 1_000_000 if TORTURE else 6_000
STATE_ROUNDS = 40 if TORTURE else 4


def test_malformed_records_are_all_answered_and_memory_stays_flat(
    topics: Topics, start_process: StartProcess, tmp_path: Path
) -> None:
    """Rows with bytes changed, removed and inserted each get one answer. Then SIGTERM stops the process; no secret is logged."""
    secret, config = "hunter2-hunter2", tmp_path / "client.properties"
    (tmp_path / "password").write_text(secret)
    config.write_text(f"# a comment\nsasl.password=file:{tmp_path / 'password'}\nsasl.username={secret}\n")
    random, clean = np.random.default_rng(SEED), values(FRAME)
    sent = [corrupt(clean[number % len(clean)], random) for number in range(MALFORMED)]
    port = free_port()
    options = ("--metrics-port", port, "--kafka-config", config, "--kafka", f"ssl.key.password={secret}")
    worker = start_process(*topics.options, *options)
    warm_up, timeout = 2000, TIMEOUT + len(sent) / 1000
    topics.send(sent[:warm_up])
    until(lambda: "partitions assigned" in worker.log and answered(port) >= warm_up)
    before = memory(worker.process.pid)
    topics.send(sent[warm_up:], warm_up)
    until(lambda: answered(port) >= len(sent), timeout)
    counts = metrics(port)
    dead_letters = topics.read(topics.dead_letters, int(counts["residuum_stream_records_total", "dead_letter"]), timeout)
    verdicts = topics.read(topics.verdicts, int(counts["residuum_stream_records_total", "scored"]), timeout)
    assert all(record.value == sent[record.number] for record in dead_letters)
    assert sorted(record.number for record in (*dead_letters, *verdicts)) == list(range(len(sent)))
    assert memory(worker.process.pid) < before + 60
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 10
    assert '"guarantee":"exactly-once"' in worker.log
    assert '"sasl.password":"***"' in worker.log
    assert secret not in worker.log


def answered(port: int) -> float:
    """Return the number of records that a worker has answered."""
    return sum(value for (name, *_), value in metrics(port).items() if name == "residuum_stream_records_total")


def corrupt(value: bytes, random: np.random.Generator) -> bytes:
    """Cut a record, or insert, overwrite or remove bytes, or replace it."""
    index, kind = int(random.integers(len(value))), int(random.integers(5))
    noise = random.bytes(int(random.integers(1, 8)))
    return [
        value[:index],
        value[:index] + noise + value[index:],
        value[:index] + noise + value[index + len(noise) :],
        value[:index] + value[index + len(noise) :],
        noise,
    ][kind]


@pytest.mark.parametrize("log", ["no reader", pytest.param("/dev/full", marks=pytest.mark.long)])
def test_a_log_that_fails_changes_neither_verdicts_nor_the_exit(log: str, pumps: Path, tmp_path: Path) -> None:
    source, out, port = tmp_path / "readings.ndjson", tmp_path / "verdicts.ndjson", free_port()
    source.write_bytes(b"".join(value + b"\n" for value in values(FRAME)))
    reader, writer = os.pipe() if log == "no reader" else (os.open(log, os.O_RDONLY), os.open(log, os.O_WRONLY))
    os.close(reader)
    command = [sys.executable, "-c", RUN, "stream", pumps, "--from", source, "--to", out, "--metrics-port", port]
    process = subprocess.Popen([*map(str, command)], stderr=writer)
    os.close(writer)
    try:
        until(lambda: out.exists() and out.read_bytes().count(b"\n") == FRAME.height)
        assert metrics(port)["residuum_log_lines_lost_total",] > 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()


class FailingState:
    """A state file that fails at random, and works again."""

    def __init__(self, path: Path, chance: random.Random) -> None:
        self._path = path
        self._chance = chance
        self._journal = path.with_name(f"{path.name}-journal")

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """Fail in a way that chance decides, while the block runs."""
        with self._chance.choice([self._locked, self._without_journal])():
            yield

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock it, as a backup does."""
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None, timeout=30)) as other:
            other.execute("begin exclusive")
            yield

    @contextlib.contextmanager
    def _without_journal(self) -> Iterator[None]:
        """Put a folder in the place of its journal, so that nothing can be written."""
        while not self._journal.is_dir():
            with contextlib.suppress(FileExistsError):  # the worker is writing
                self._journal.mkdir()
        try:
            yield
        finally:
            self._journal.rmdir()


@pytest.mark.long
def test_a_state_file_that_fails_at_random_changes_no_verdict_and_holds_up_no_shutdown(
    start_process: StartProcess, pumps: Path, tmp_path: Path
) -> None:
    """The worker ends where it cannot write its position, and is started again, while lines go on arriving."""
    source, out, state = tmp_path / "readings.ndjson", tmp_path / "verdicts.ndjson", tmp_path / "state"
    lines = [value + b"\n" for value in values(FRAME)]
    chance = random.Random(SEED)  # noqa: S311 - no secret
    options = ("--from", source, "--to", out, "--state", state, "--deadline", 2)
    source.write_bytes(lines[0])
    worker = start_process(*options, bundle=pumps)
    until(lambda: bool(state_rows(state)))
    writer = LineWriter(source, lines[1:], STATE_ROUNDS * 1.5)
    writer.start()
    failing = FailingState(state, chance)
    for _ in range(STATE_ROUNDS):
        with failing.failing():
            time.sleep(chance.uniform(0, 1.5) if chance.random() < 0.8 else 6)  # SQLite waits for 5 seconds
            if chance.random() < 0.3 and worker.process.poll() is None:
                began, has_started = time.monotonic(), "streaming" in worker.log
                assert worker.stop() in ({0, 2} if has_started else {0, 2, 143, -signal.SIGTERM})
                assert time.monotonic() - began < 8
        if worker.process.poll() is not None:
            assert worker.process.returncode in {0, 2, 143, -signal.SIGTERM}
            assert "is not a valid state file" not in worker.log
            worker = start_process(*options, bundle=pumps)
        time.sleep(chance.uniform(0, 0.5))
    writer.join()
    if worker.process.poll() is not None:
        worker = start_process(*options, bundle=pumps)
    until(lambda: state_rows(state) == [FRAME.height + 1])
    assert worker.stop() == 0
    found = [json.loads(line) for line in out.read_bytes().splitlines()]
    by_row = {verdict["origin"]["row"]: verdict for verdict in found}
    assert sorted(by_row) == list(range(1, FRAME.height + 1))
    for verdict in found:
        other = by_row[verdict["origin"]["row"]]
        assert verdict | {"anomaly_score": pytest.approx(other["anomaly_score"], rel=1e-5)} == other


class LineWriter(threading.Thread):
    """Appends lines to a file, one after the other, over some seconds."""

    def __init__(self, path: Path, lines: list[bytes], seconds: float) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._lines = lines
        self._pause = seconds / len(lines)

    def run(self) -> None:
        for line in self._lines:
            with self._path.open("ab") as file:
                file.write(line)
            time.sleep(self._pause)


def state_rows(state: Path) -> list[int]:
    """Return the number of the next line in a state file."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(state)) as connection:
        return [json.loads(said)["row"] for (said,) in connection.execute("select said from position")]
    return []


def test_the_deadline_ends_a_worker_that_waits_for_brokers(start_process: StartProcess) -> None:
    nobody = f"kafka://127.0.0.1:{free_port()}"
    worker = start_process("--from", f"{nobody}/a", "--to", f"{nobody}/b", "--deadline", "0.5")
    until(lambda: '"streaming"' in worker.log)
    time.sleep(0.5)  # it waits for the brokers' answer
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 5
    assert "deadline passed" in worker.log


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--from", "redis://x/y", "--to", "-"), "a stream is kafka://"),
        (("--from", "-", "--to", "-", "--guarantee", "exactly-once"), "use at-least-once"),
        (("--from", "-", "--to", "-", "--kafka", "novalue"), "key=value"),
    ],
)
def test_invalid_options_exit_with_2_and_one_line(options: tuple[str, ...], message: str, pumps: Path) -> None:
    result = CliRunner().invoke(app, ["stream", str(pumps), *options])
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]


def test_the_log_names_addresses_and_masks_settings() -> None:
    source = Topic("a:9092", "readings")
    settings = StreamSettings(source=source, sink=None, group="group", kafka={"sasl.password": "hunter2"})
    assert log_fields(settings) == {
        "source": "kafka://a:9092/readings",
        "sink": "-",
        "dead_letters": "kafka://a:9092/readings.dlq",
        "guarantee": "at-least-once",
        "group": "group",
        "kafka": {"sasl.password": "***"},
    }


@pytest.mark.long
def test_a_dead_letter_topic_that_goes_away_stops_the_worker(topics: Topics, start_process: StartProcess) -> None:
    """No record is lost: the batch is scored again once the topic exists."""
    topics.send([b"{", *values(FRAME[:10])])
    worker = start_process(*topics.options)
    assert len(topics.read(topics.verdicts, 10)) == 10
    admin = AdminClient({"bootstrap.servers": topics.bootstrap, **QUIET})
    admin.delete_topics([topics.dead_letters])[topics.dead_letters].result(30)
    topics.send([b"[", *values(FRAME[10:20])], 11)
    assert worker.process.wait(120) == 2
    assert topics.dead_letters in worker.log.splitlines()[-1]
    make_topics(topics.bootstrap, **{topics.dead_letters: 1})
    worker = start_process(*topics.options)
    assert [record.value for record in topics.read(topics.dead_letters, 1)] == [b"["]
    assert len(topics.read(topics.verdicts, 20)) == 20
    assert worker.stop() == 0
