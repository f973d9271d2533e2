"""Workers in processes or threads, and topics to feed them from and to read from."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import polars as pl
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient  # type: ignore[attr-defined]  # documented, but not exported
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from detector.scorer import Scorer
from serving.stream.addresses import Topic
from serving.stream.run import open_worker
from serving.stream.settings import StreamSettings
from tests.data.make_bundle import write_minimal
from tests.kafka.brokers import QUIET, make_topics, read
from tests.kafka.shared import shared
from tests.tables import normal_rows, planted_anomalies, series

RUN = "import sys; sys.argv[0] = 'residuum'; from residuum.cli import main; main()"
TORTURE = bool(os.environ.get("RESIDUUM_TORTURE"))  # the long form of the proofs
SEED = int(os.environ.get("RESIDUUM_SEED", "1"))
TIMEOUT = 60
INTERVAL = 0.02
FAST = {"session.timeout.ms": "3000", "heartbeat.interval.ms": "300", "transaction.timeout.ms": "5000"}
FAST_TRANSACTIONS = {"transaction.timeout.ms": "5000"}  # under KIP-848 the brokers decide the rest


def client_options(settings: Mapping[str, str]) -> list[str]:
    """Return the command's options for settings of Kafka's client."""
    return [word for name, value in settings.items() for word in ("--kafka", f"{name}={value}")]


class WorkerProcess:
    """A running `residuum stream`."""

    def __init__(self, bundle: Path, *options: object, log: Path, stdin: int | None = None, stdout: int | None = None) -> None:
        command = [sys.executable, "-c", RUN, "stream", bundle, *options, "--log", "json"]
        self._log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen([*map(str, command)], stdin=stdin, stdout=stdout, stderr=file)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, timeout: float = TIMEOUT) -> int:
        """Send SIGTERM and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


class WorkerThread:
    """A worker in a thread of the test: a process takes seconds to start."""

    def __init__(self, settings: StreamSettings, bundle: Path) -> None:
        self.worker, metrics = open_worker(bundle, settings, lambda _: None)
        self.registry: CollectorRegistry = metrics.registry
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.worker.run()
        except Exception as error:  # noqa: BLE001 - `join` raises it
            self.error = error

    def join(self, timeout: float = TIMEOUT) -> None:
        """Wait for the end of the stream."""
        self._thread.join(timeout)
        assert not self._thread.is_alive()
        if self.error:
            raise self.error

    def stop(self) -> None:
        self.worker.stop()
        self.join()

    def metric(self, name: str, **labels: str) -> float:
        """Return the value of a metric; 0 if it has none yet."""
        return self.registry.get_sample_value(name, labels) or 0.0


class Topics:
    """Topics of one test: readings, verdicts and dead letters."""

    def __init__(self, bootstrap: str, partitions: int = 2, copies: int = 1, config: Mapping[str, str] | None = None) -> None:
        self.bootstrap = bootstrap
        name = secrets.token_hex(4)
        self.readings, self.verdicts, self.dead_letters = f"{name}-readings", f"{name}-verdicts", f"{name}-readings.dlq"
        self.group = f"{name}-group"
        make_topics(bootstrap, copies, config, **{self.readings: partitions, self.verdicts: partitions, self.dead_letters: 1})
        self.changelog = f"{self.readings}.{self.group}.changelog"
        self._partitions, self._copies = partitions, copies
        producer = {"linger.ms": 5, "enable.idempotence": True, "message.max.bytes": 2_000_000}
        self._producer = Producer({"bootstrap.servers": bootstrap, **producer, **QUIET})

    @property
    def options(self) -> list[object]:
        """The command's options."""
        return ["--from", self.url(self.readings), "--to", self.url(self.verdicts), "--group", self.group]

    def settings(self, **changes: object) -> StreamSettings:
        """Return settings of a worker on these topics."""
        source, sink = Topic(self.bootstrap, self.readings), Topic(self.bootstrap, self.verdicts)
        return StreamSettings(**{"source": source, "sink": sink, "group": self.group, "log": "json", **changes})  # type: ignore[arg-type]

    def for_series(self) -> Topics:
        """Make the changelog too."""
        make_topics(self.bootstrap, self._copies, {"cleanup.policy": "compact"}, **{self.changelog: self._partitions})
        return self

    def url(self, topic: str) -> str:
        return f"kafka://{self.bootstrap}/{topic}"

    def send(self, values: Iterable[bytes | None], first: int = 0, **options: object) -> int:
        """Send records whose keys are numbers, counting from `first`; return the next number."""
        following = self.put(values, first, **options)
        self.flush()
        return following

    def put(self, values: Iterable[bytes | None], first: int, **options: object) -> int:
        """Send records without waiting for their delivery."""
        key = first - 1
        for key, value in enumerate(values, first):
            self._producer.produce(self.readings, value, str(key), **options)  # type: ignore[arg-type]
            if key % 10_000 == 0:
                self.flush()  # its queue is limited
        self._producer.poll(0)
        return key + 1

    def put_keyed(self, records: Iterable[tuple[str | None, bytes | None]]) -> None:
        """Send records with these keys without waiting for their delivery."""
        for key, value in records:
            self._producer.produce(self.readings, value, key)
        self._producer.poll(0)

    def put_partition(self, partition: int, values: Iterable[bytes]) -> None:
        """Send records to a partition."""
        for value in values:
            self._producer.produce(self.readings, value, partition=partition)
        self.flush()

    def flush(self) -> None:
        """Wait until sent records are delivered."""
        assert self._producer.flush(TIMEOUT) == 0

    def commit(self, partition: int, offset: int) -> None:
        """Set the group's position while no worker runs."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.group, **QUIET})
        consumer.commit(offsets=[TopicPartition(self.readings, partition, offset)], asynchronous=False)
        consumer.close()

    def ends(self) -> list[int]:
        """Return the end of each partition of the readings."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.group, **QUIET})
        partitions = [TopicPartition(self.readings, each) for each in range(self._partitions)]
        ends = [consumer.get_watermark_offsets(each, TIMEOUT)[1] for each in partitions]
        consumer.close()
        return ends

    def expire(self, topic: str, offset: int, partition: int = 0) -> None:
        """Delete the records before an offset of a partition, as retention does."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, **QUIET})
        for future in admin.delete_records([TopicPartition(topic, partition, offset)]).values():
            future.result(30)

    def read(self, topic: str, count: int, timeout: float = TIMEOUT) -> list[ReadRecord]:
        """Read committed records from a topic's beginning until there are `count`, and those that follow at once."""
        return [ReadRecord.of(message) for message in read(self.bootstrap, topic, count, timeout)]


class ReadRecord(msgspec.Struct, frozen=True):
    """A record that was read."""

    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]
    timestamp: int
    partition: int
    offset: int

    @classmethod
    def of(cls, message: object) -> ReadRecord:
        read = message
        return cls(
            read.key(),
            read.value(),
            dict(read.headers() or ()),
            read.timestamp()[1],
            read.partition(),
            read.offset(),  # type: ignore[attr-defined]
        )

    @property
    def number(self) -> int:
        """The key of a record that `Topics.send` sent."""
        return int(self.key or b"-1")

    @property
    def content(self) -> dict[str, object]:
        """The value as JSON."""
        content: dict[str, object] = json.loads(self.value or b"null")
        return content


def rows(count: int, seed: int = 5) -> pl.DataFrame:
    """Return rows of which a tenth are anomalies."""
    anomalies = count // 10
    table = pl.concat([normal_rows(count - anomalies, seed=seed), planted_anomalies(anomalies)])
    return table.sample(fraction=1, shuffle=True, seed=seed)


def machines(rows: int, names: Sequence[str] = ("press", "lathe")) -> pl.DataFrame:
    """Return rows of several machines, interleaved; alarms start, last for some rows, and end."""
    moved = pl.int_range(rows) % 25 >= 22
    tables = [series(rows, seed, name, "2026-03-03 06:00:00") for seed, name in enumerate(names, 7)]
    flow = pl.when(moved).then(pl.col("flow") + 3).otherwise("flow").alias("flow")
    return pl.concat([table.with_columns(flow) for table in tables]).sort("ts", "machine")


def values(frame: pl.DataFrame) -> list[bytes]:
    """Return rows as the values of records."""
    return [line.encode() for line in frame.write_ndjson().splitlines()]


def lines_of(path: Path) -> list[dict[str, object]]:
    """Return the complete lines of a file."""
    text = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]


def row_of(verdict: dict[str, object]) -> int:
    origin = verdict["origin"]
    assert isinstance(origin, dict)
    row: int = origin["row"]
    return row


def check(verdicts: Sequence[dict[str, object]], frame: pl.DataFrame, bundle: Path) -> None:
    """Compare verdicts, in the order of the rows, with those of `residuum score`."""
    expected = Scorer.open(bundle, "cpu").score(frame)
    assert [verdict["is_anomaly"] for verdict in verdicts] == expected.is_anomaly.tolist()
    assert [verdict["anomaly_score"] for verdict in verdicts] == pytest.approx(expected.score.tolist(), rel=1e-5)
    assert [verdict["p_value"] for verdict in verdicts] == pytest.approx(expected.p_value.tolist())
    assert all(bool(verdict.get("reasons")) == verdict["is_anomaly"] for verdict in verdicts)


def check_series(verdicts: Sequence[dict[str, object]], frame: pl.DataFrame, bundle: Path) -> None:
    """Compare verdicts on rows of series, in the order of the rows, with those of `residuum score`."""
    expected = Scorer.open(bundle, "cpu").score(frame)
    assert expected.states is not None
    scored = expected.is_scored
    assert [verdict["state"] for verdict in verdicts] == expected.states.tolist()
    flags = [flag if is_scored else None for flag, is_scored in zip(expected.is_anomaly.tolist(), scored, strict=True)]
    assert [verdict["is_anomaly"] for verdict in verdicts] == flags
    for field, expected_values in (("anomaly_score", expected.score), ("p_value", expected.p_value)):
        found = [verdict[field] for verdict in verdicts]
        assert [value is not None for value in found] == scored.tolist()
        assert [value for value in found if value is not None] == pytest.approx(expected_values[scored].tolist(), rel=1e-5)
    assert all(bool(verdict.get("reasons")) == bool(verdict["is_anomaly"]) for verdict in verdicts)


def metrics(port: int) -> dict[tuple[str, ...], float]:
    """Return a worker's metrics, by name and label values."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        families = list(text_string_to_metric_families(response.read().decode()))
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def memory(pid: int) -> float:
    """Return the resident memory of a process, in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20


def until(condition: Callable[[], object], timeout: float = TIMEOUT) -> None:
    """Wait until a condition is true."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout
        time.sleep(INTERVAL)


@pytest.fixture(scope="session")
def broker(run_folder: Path) -> Iterator[str]:
    """The address of one broker."""
    with shared(run_folder, 1) as bootstrap:
        yield bootstrap


@pytest.fixture
def topics(broker: str) -> Topics:
    """Topics of this test alone."""
    return Topics(broker)


@pytest.fixture(scope="session")
def pumps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle that scores single rows."""
    folder = tmp_path_factory.mktemp("models") / "pumps"
    write_minimal(folder / "1", name="pumps")
    return folder


StartProcess = Callable[..., WorkerProcess]
StartThread = Callable[..., WorkerThread]


@pytest.fixture
def start_process(pumps: Path, tmp_path: Path) -> Iterator[StartProcess]:
    """A function that starts workers in processes."""
    started: list[WorkerProcess] = []

    def start(*options: object, bundle: Path = pumps, **pipes: int) -> WorkerProcess:
        worker = WorkerProcess(bundle, *options, log=tmp_path / f"log-{len(started)}", **pipes)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        if worker.process.poll() is None:
            os.kill(worker.process.pid, signal.SIGCONT)
            worker.kill()


@pytest.fixture
def start_thread(pumps: Path) -> Iterator[StartThread]:
    """A function that starts workers in threads."""
    started: list[WorkerThread] = []

    def start(settings: StreamSettings, bundle: Path = pumps) -> WorkerThread:
        started.append(WorkerThread(settings, bundle))
        return started[-1]

    yield start
    for worker in started:
        worker.worker.stop()
    for worker in started:
        worker.join()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show what the workers of a failed test logged."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    folder = item.funcargs.get("tmp_path") if isinstance(item, pytest.Function) else None
    if report.failed and folder:
        for log in sorted(folder.glob("log-*")):
            report.sections.append((log.name, log.read_text()[-6000:]))
