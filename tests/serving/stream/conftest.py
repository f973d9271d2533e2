"""Workers in processes of their own, and topics to feed them from and to read from."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import polars as pl
import pytest
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from detector.scorer import Scorer
from detector.windows import FATES, JUDGED
from tests.data.make_bundle import write_minimal
from tests.kafka.brokers import QUIET, make_topics, read
from tests.kafka.shared import shared
from tests.tables import normal_rows, planted_anomalies, series

RUN = "import sys; sys.argv[0] = 'residuum'; from residuum.cli import main; main()"
TORTURE = bool(os.environ.get("RESIDUUM_TORTURE"))  # the long form of the proofs
SEED = int(os.environ.get("RESIDUUM_SEED", "1"))
WITHIN = 60
TICK = 0.02
QUICK = ("--kafka", "session.timeout.ms=3000", "--kafka", "heartbeat.interval.ms=300", "--kafka", "transaction.timeout.ms=5000")


class Worker:
    """A running `residuum stream`."""

    def __init__(self, bundle: Path, *flags: object, log: Path, stdin: int | None = None, stdout: int | None = None) -> None:
        command = [sys.executable, "-c", RUN, "stream", bundle, *flags, "--log", "json"]
        self._log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen([*map(str, command)], stdin=stdin, stdout=stdout, stderr=file)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, within: float = WITHIN) -> int:
        """Ask it to end, and give the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)


class Topics:
    """The topics of one test: readings, verdicts and dead letters."""

    def __init__(self, bootstrap: str, partitions: int = 2, copies: int = 1, config: Mapping[str, str] | None = None) -> None:
        self.bootstrap = bootstrap
        name = secrets.token_hex(4)
        self.readings, self.verdicts, self.letters = f"{name}-readings", f"{name}-verdicts", f"{name}-readings.dlq"
        self.group = f"{name}-group"
        make_topics(bootstrap, copies, config, **{self.readings: partitions, self.verdicts: partitions, self.letters: 1})
        self.changelog = f"{self.readings}.{self.group}.changelog"
        self._partitions, self._copies = partitions, copies
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, **QUIET})

    @property
    def flags(self) -> list[object]:
        """What a worker is told of them."""
        return ["--from", self.url(self.readings), "--to", self.url(self.verdicts), "--group", self.group]

    def for_series(self) -> Topics:
        """Make the changelog too."""
        make_topics(self.bootstrap, self._copies, {"cleanup.policy": "compact"}, **{self.changelog: self._partitions})
        return self

    def url(self, topic: str) -> str:
        return f"kafka://{self.bootstrap}/{topic}"

    def send(self, values: Iterable[bytes | None], first: int = 0, **options: object) -> int:
        """Send records whose keys are numbers, counting from `first`; gives the next number."""
        following = self.put(values, first, **options)
        self.flush()
        return following

    def put(self, values: Iterable[bytes | None], first: int, **options: object) -> int:
        """Send records, and do not wait until they are there."""
        key = first - 1
        for key, value in enumerate(values, first):
            self._producer.produce(self.readings, value, str(key), **options)  # type: ignore[arg-type]
            if key % 10_000 == 0:
                self.flush()  # its queue has an end
        self._producer.poll(0)
        return key + 1

    def put_keyed(self, records: Iterable[tuple[str | None, bytes | None]]) -> None:
        """Send records by their keys, and do not wait until they are there."""
        for key, value in records:
            self._producer.produce(self.readings, value, key)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until what was sent is there."""
        assert self._producer.flush(WITHIN) == 0

    def read(self, topic: str, count: int, within: float = WITHIN) -> list[Read]:
        """Read committed records from a topic's beginning until there are so many, and as many as come right after."""
        return [Read.of(each) for each in read(self.bootstrap, topic, count, within)]


class Read(msgspec.Struct, frozen=True):
    """A record that was read."""

    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]
    time: int
    partition: int
    offset: int

    @classmethod
    def of(cls, message: object) -> Read:
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
    def said(self) -> dict[str, object]:
        """The value as JSON."""
        found: dict[str, object] = json.loads(self.value or b"null")
        return found


def rows(count: int, seed: int = 5) -> pl.DataFrame:
    """Give rows of which a tenth are anomalies."""
    odd = count // 10
    return pl.concat([normal_rows(count - odd, seed=seed), planted_anomalies(odd)]).sample(fraction=1, shuffle=True, seed=seed)


def machines(rows: int, names: Sequence[str] = ("press", "lathe")) -> pl.DataFrame:
    """Give so many rows of each machine, interleaved; alarms begin, go on for some rows by themselves, and end."""
    moved = pl.int_range(rows) % 25 >= 22
    made = [series(rows, seed, name, "2026-03-03 06:00:00") for seed, name in enumerate(names, 7)]
    flow = pl.when(moved).then(pl.col("flow") + 3).otherwise("flow").alias("flow")
    return pl.concat([each.with_columns(flow) for each in made]).sort("ts", "machine")


def values(frame: pl.DataFrame) -> list[bytes]:
    """Write rows as records."""
    return [line.encode() for line in frame.write_ndjson().splitlines()]


def check(said: Sequence[dict[str, object]], frame: pl.DataFrame, bundle: Path) -> None:
    """Compare verdicts, in the order of the rows, with those of `residuum score`."""
    expected = Scorer.open(bundle, "cpu").score(frame)
    assert [one["is_anomaly"] for one in said] == expected.is_anomaly.tolist()
    assert [one["anomaly_score"] for one in said] == pytest.approx(expected.score.tolist(), rel=1e-5)
    assert [one["p_value"] for one in said] == pytest.approx(expected.p_value.tolist())
    assert all(bool(one.get("reasons")) == one["is_anomaly"] for one in said)


def metrics(port: int) -> dict[tuple[str, ...], float]:
    """Ask a worker for its metrics: by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def memory(pid: int) -> float:
    """Give the memory that a process holds, in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20


def check_series(said: Sequence[dict[str, object]], frame: pl.DataFrame, bundle: Path) -> None:
    """Compare verdicts on rows of series, in the order of the rows, with those of `residuum score`."""
    expected = Scorer.open(bundle, "cpu").score(frame)
    assert expected.fates is not None
    judged = expected.fates == JUDGED
    assert [one["state"] for one in said] == [FATES[fate] for fate in expected.fates]
    flags = [flag if there else None for flag, there in zip(expected.is_anomaly.tolist(), judged, strict=True)]
    assert [one["is_anomaly"] for one in said] == flags
    for word, values_ in (("anomaly_score", expected.score), ("p_value", expected.p_value)):
        found = [one[word] for one in said]
        assert [value is not None for value in found] == judged.tolist()
        assert [value for value in found if value is not None] == pytest.approx(values_[judged].tolist(), rel=1e-5)
    assert all(bool(one.get("reasons")) == bool(one["is_anomaly"]) for one in said)


def until(true: Callable[[], object], within: float = WITHIN) -> None:
    """Wait for something to be true."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within
        time.sleep(TICK)


@pytest.fixture(scope="session")
def broker(run_folder: Path) -> Iterator[str]:
    """The address of one broker."""
    with shared(run_folder, 1) as bootstrap:
        yield bootstrap


@pytest.fixture
def topics(broker: str) -> Topics:
    """Topics of one's own."""
    return Topics(broker)


@pytest.fixture(scope="session")
def pumps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle."""
    folder = tmp_path_factory.mktemp("models") / "pumps"
    write_minimal(folder / "1", name="pumps")
    return folder


Start = Callable[..., Worker]


@pytest.fixture
def start(pumps: Path, tmp_path: Path) -> Iterator[Start]:
    """Start workers."""
    started: list[Worker] = []

    def begin(*flags: object, at: Path = pumps, **pipes: int) -> Worker:
        worker = Worker(at, *flags, log=tmp_path / f"log-{len(started)}", **pipes)
        started.append(worker)
        return worker

    yield begin
    for worker in started:
        if worker.process.poll() is None:
            os.kill(worker.process.pid, signal.SIGCONT)
            worker.kill()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show what the workers of a failed test logged."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    folder = item.funcargs.get("tmp_path") if isinstance(item, pytest.Function) else None
    if report.failed and folder:
        for log in sorted(folder.glob("log-*")):
            report.sections.append((log.name, log.read_text()[-6000:]))
