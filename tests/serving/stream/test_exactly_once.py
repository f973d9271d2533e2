"""Each record gets exactly one verdict or dead letter, and the right one, whatever happens to workers and brokers."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.kafka.shared import exclusive
from tests.serving.stream.conftest import (
    FAST,
    FAST_TRANSACTIONS,
    SEED,
    TORTURE,
    ReadRecord,
    StartProcess,
    StartThread,
    Topics,
    WorkerProcess,
    check,
    check_series,
    client_options,
    machines,
    rows,
    until,
    values,
)

KILLS, FREEZES, CHANGES = (200, 20, 60) if TORTURE else (20, 1, 5)
RATE = 400  # records a second
BAD = (b"{", b'{"temperature": "hot"}', b"", None, b"[1]", b'"x"', b"\xff\xfe")
QUICK = client_options(FAST)
QUICK_TRANSACTIONS = client_options(FAST_TRANSACTIONS)


class RecordFlow(threading.Thread):
    """Sends rows at a rate, one in fifty of them bad."""

    def __init__(self, topics: Topics, frame: pl.DataFrame, rate: float = RATE) -> None:
        super().__init__(daemon=True)
        self._topics = topics
        self._rate = rate
        good = values(frame)
        self.sent: list[bytes | None] = [
            BAD[number % len(BAD)] if number % 50 == 7 else value for number, value in enumerate(good)
        ]

    def put(self, first: int, chunk: Sequence[bytes | None]) -> None:
        self._topics.put(chunk, first)

    def run(self) -> None:
        began, size = time.monotonic(), max(1, int(self._rate / 20))
        for first in range(0, len(self.sent), size):
            self.put(first, self.sent[first : first + size])
            time.sleep(max(0.0, began + (first + size) / self._rate - time.monotonic()))
        self._topics.flush()


class SeriesFlow(RecordFlow):
    """Sends rows of machines, keyed by machine; the last tenth waits for `release`."""

    def __init__(self, topics: Topics, frame: pl.DataFrame, rate: float = RATE) -> None:
        super().__init__(topics, frame, rate)
        self._keys = frame["machine"].to_list()
        self.release = threading.Event()

    def put(self, first: int, chunk: Sequence[bytes | None]) -> None:
        if first > 0.9 * len(self.sent):
            self.release.wait()
        self._topics.put_keyed(zip(self._keys[first : first + len(chunk)], chunk, strict=True))


def check_series_flow(topics: Topics, flow: SeriesFlow, frame: pl.DataFrame, bundle: Path, *, once: bool = True) -> None:
    """Wait for all verdicts on rows of machines, and compare them with those of `residuum score`.

    Unless each verdict is written `once`, repeated ones must be equal.
    """
    flow.release.set()
    flow.join()
    good = frame.filter(pl.int_range(pl.len()) % 50 != 7)
    bad = flow.sent[7::50]
    found: dict[tuple[int, int], ReadRecord] = {}
    verdicts: list[ReadRecord] = []

    def all_answered() -> bool:
        verdicts[:] = topics.read(topics.verdicts, good.height)
        found.update((origin_of(verdict), verdict) for verdict in verdicts)
        return len(found) >= good.height

    until(all_answered)
    dead_letters = topics.read(topics.dead_letters, len(bad))
    if once:
        assert len(verdicts) == len(found) == good.height
        assert sorted(repr(record.value) for record in dead_letters) == sorted(map(repr, bad))
    assert all(verdict.value == found[origin_of(verdict)].value for verdict in verdicts)
    assert {record.value for record in dead_letters} == set(bad)
    for (name,), machine_rows in good.group_by("machine"):
        contents = [verdict.content for _, verdict in sorted(found.items()) if verdict.key == str(name).encode()]
        check_series(contents, machine_rows, bundle)


def origin_of(verdict: ReadRecord) -> tuple[int, int]:
    """Return the partition and offset of a verdict's record."""
    origin = verdict.content["origin"]
    assert isinstance(origin, dict)
    return origin["partition"], origin["offset"]


def check_flow(topics: Topics, flow: RecordFlow, frame: pl.DataFrame, bundle: Path) -> None:
    """Wait for all verdicts, and compare them with those of `residuum score`."""
    flow.join()
    numbers = range(len(flow.sent))
    bad, good = ([number for number in numbers if (number % 50 == 7) is is_bad] for is_bad in (True, False))
    dead_letters = topics.read(topics.dead_letters, len(bad))
    verdicts = topics.read(topics.verdicts, len(good))
    assert sorted(record.number for record in dead_letters) == bad
    assert all(record.value == flow.sent[record.number] for record in dead_letters)
    assert sorted(verdict.number for verdict in verdicts) == good
    by_number = {verdict.number: verdict.content for verdict in verdicts}
    check([by_number[number] for number in good], frame[good], bundle)


@pytest.mark.long
def test_workers_and_brokers_are_killed(run_folder: Path, pumps: Path, start_process: StartProcess) -> None:
    """SIGKILL at random times, on three brokers of which one is killed too: topics and transactions get new leaders."""
    random = np.random.default_rng(SEED)
    with exclusive(run_folder, 3) as cluster:
        topics, frame = Topics(cluster.bootstrap, copies=3), rows(int(KILLS * 1.3 * RATE))
        flow = RecordFlow(topics, frame)
        flow.start()
        for number in range(KILLS):
            worker = start_process(*topics.options, *QUICK, "--id", "one")
            if number % 20 == 4:
                cluster.kill(number // 20 % 3)
            if number % 20 == 8:
                cluster.restart(number // 20 % 3)
            if number % 4:
                until(lambda: "partitions assigned" in worker.log)  # noqa: B023 - called at once
            time.sleep(random.uniform(0, 0.6))
            worker.kill()
        worker = start_process(*topics.options, *QUICK, "--id", "one")
        check_flow(topics, flow, frame, pumps)
        assert worker.stop() == 0


@pytest.mark.parametrize("kills", [1, pytest.param(KILLS, marks=pytest.mark.long)])
def test_series_continue_after_a_kill(kills: int, broker: str, presses: tuple[Path, str], start_process: StartProcess) -> None:
    """Windows are restored from the changelog; keys are interleaved, and alarms are on when the worker dies."""
    random, names = np.random.default_rng(SEED), [f"machine {number}" for number in range(6)]
    topics, frame = Topics(broker, 3).for_series(), machines(max(1200, int(kills * 1.6 * RATE)) // len(names), names)
    flow = SeriesFlow(topics, frame)
    flow.start()
    for number in range(kills):
        worker = start_process(*topics.options, *QUICK, "--id", "one", bundle=presses[0])
        if number % 4 != 3:
            until(lambda: "partitions assigned" in worker.log)  # noqa: B023 - called at once
        if not number:
            topics.read(topics.verdicts, 200)  # so that windows are complete
        time.sleep(random.uniform(0, 0.6))
        worker.kill()
    worker = start_process(*topics.options, *QUICK, "--id", "one", bundle=presses[0])
    check_series_flow(topics, flow, frame, presses[0])
    assert "series restored" in worker.log
    assert worker.stop() == 0


def test_at_least_once_loses_no_record(
    topics: Topics, start_process: StartProcess, start_thread: StartThread, pumps: Path
) -> None:
    frame = rows(300)
    topics.send(values(frame) * 10)
    options = ("--guarantee", "at-least-once", "--id", "a", "--max-batch", 100)
    worker = start_process(*topics.options, *QUICK, *options)
    topics.read(topics.verdicts, 500)
    worker.kill()
    start_thread(topics.settings(guarantee="at-least-once", worker_id="a", max_batch=100, kafka=FAST))
    by_number: dict[int, dict[str, object]] = {}

    def all_answered() -> bool:
        verdicts = topics.read(topics.verdicts, 10 * frame.height)
        by_number.update((verdict.number, verdict.content) for verdict in verdicts)
        return by_number.keys() == set(range(10 * frame.height))

    until(all_answered)
    check([by_number[number] for number in range(frame.height)], frame, pumps)


def test_workers_join_and_leave(broker: str, pumps: Path, start_thread: StartThread) -> None:
    """Partitions move between workers, under the new group protocol (KIP-848)."""
    topics, frame = Topics(broker, 4), rows(4 * RATE)
    settings = topics.settings(kafka={**FAST_TRANSACTIONS, "group.protocol": "consumer"})
    flow = RecordFlow(topics, frame)
    flow.start()
    workers = [start_thread(settings)]
    for _ in range(2):
        workers.append(start_thread(settings))
        until(lambda: workers[-1].metric("residuum_stream_assigned_partitions") > 0)
        workers.pop(0).stop()
    check_flow(topics, flow, frame, pumps)


def start_and_stop(start: Callable[[], WorkerProcess], *, kills: bool) -> list[WorkerProcess]:
    """Start one worker after the other, and stop or kill earlier ones; return those that are left."""
    random, workers = np.random.default_rng(SEED), [start()]
    for number in range(CHANGES):
        workers.append(start())
        time.sleep(random.uniform(0.8, 2))
        if number % 3:
            leaving = workers.pop(0)
            until(lambda: '"streaming"' in leaving.log)  # noqa: B023 - called at once
            assert leaving.stop() == 0, leaving.log
        elif kills and number:
            workers.pop(0).kill()
    until(lambda: all('"streaming"' in worker.log for worker in workers))  # before that, SIGTERM ends them with 143
    return workers


@pytest.mark.long
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_worker_processes_come_and_go(protocol: str, broker: str, pumps: Path, start_process: StartProcess) -> None:
    """Some workers are stopped and others are killed, while partitions move."""
    topics, frame = Topics(broker, 4), rows(CHANGES * 2 * RATE)
    quick = QUICK if protocol == "classic" else QUICK_TRANSACTIONS
    flow = RecordFlow(topics, frame)
    flow.start()
    start = partial(start_process, *topics.options, *quick, "--kafka", f"group.protocol={protocol}")
    workers = start_and_stop(start, kills=protocol == "classic")
    check_flow(topics, flow, frame, pumps)
    assert [worker.stop() for worker in workers] == [0] * len(workers)


@pytest.mark.long
@pytest.mark.parametrize(("guarantee", "protocol"), [("exactly-once", "classic"), ("at-least-once", "consumer")])
def test_series_follow_their_partitions(
    guarantee: str, protocol: str, broker: str, presses: tuple[Path, str], start_process: StartProcess
) -> None:
    """Workers start, stop and are killed; the worker with a partition has its windows."""
    names = [f"machine {number}" for number in range(12)]
    topics, frame = Topics(broker, 4).for_series(), machines(CHANGES * 2 * RATE // len(names), names)
    quick = QUICK if protocol == "classic" else QUICK_TRANSACTIONS
    options = [*topics.options, *quick, "--guarantee", guarantee, "--kafka", f"group.protocol={protocol}"]
    flow = SeriesFlow(topics, frame)
    flow.start()
    workers = start_and_stop(partial(start_process, *options, bundle=presses[0]), kills=protocol == "classic")
    check_series_flow(topics, flow, frame, presses[0], once=guarantee == "exactly-once")
    assert [worker.stop() for worker in workers] == [0] * len(workers)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["rows", "series"])
def test_a_worker_frozen_beyond_its_session_commits_nothing(
    kind: str, broker: str, pumps: Path, start_process: StartProcess, request: pytest.FixtureRequest
) -> None:
    """A stopped worker, whose partitions another one gets, continues in the middle of a batch."""
    topics, count, random = Topics(broker, 4), FREEZES * 7 * RATE, np.random.default_rng(SEED)
    if kind == "rows":
        bundle, frame = pumps, rows(count)
        flow = RecordFlow(topics, frame)
    else:
        names = [f"machine {number}" for number in range(12)]
        bundle, frame = request.getfixturevalue("presses")[0], machines(count // len(names), names)
        flow = SeriesFlow(topics.for_series(), frame)
        flow.release.set()
    flow.start()
    pair = [start_process(*topics.options, *QUICK, bundle=bundle) for _ in range(2)]
    until(lambda: all("partitions assigned" in worker.log for worker in pair))
    for number in range(FREEZES):
        frozen = pair[number % 2]
        time.sleep(random.uniform(0.2, 0.6))
        frozen.process.send_signal(signal.SIGSTOP)
        time.sleep(5.5)  # longer than the session and the transaction timeout
        frozen.process.send_signal(signal.SIGCONT)
    if isinstance(flow, SeriesFlow):
        check_series_flow(topics, flow, frame, bundle)
    else:
        check_flow(topics, flow, frame, bundle)
    assert all("partitions lost" in worker.log or "connection lost" in worker.log for worker in pair[: min(2, FREEZES)])
    assert [worker.stop() for worker in pair] == [0, 0]


@pytest.mark.long
def test_frozen_brokers_are_waited_for(run_folder: Path, pumps: Path, start_process: StartProcess) -> None:
    """Brokers do not answer for longer than any timeout, with a transaction open; when they continue, so does the worker."""
    with exclusive(run_folder, 1) as cluster:
        topics, frame = Topics(cluster.bootstrap), rows(90 * RATE)
        flow = RecordFlow(topics, frame)
        worker = start_process(*topics.options, *QUICK)
        until(lambda: "partitions assigned" in worker.log)
        flow.start()
        time.sleep(3)
        cluster.processes[0].send_signal(signal.SIGSTOP)
        time.sleep(60)
        cluster.processes[0].send_signal(signal.SIGCONT)
        check_flow(topics, flow, frame, pumps)
        assert "connection lost" in worker.log
        assert worker.stop() == 0


@pytest.mark.long
def test_two_workers_with_one_id_stop_one_of_them(topics: Topics, start_process: StartProcess) -> None:
    frame = rows(300)
    options = [*topics.options, *QUICK, "--id", "same"]
    pair = [start_process(*options), start_process(*options)]
    sent = 0

    def one_has_stopped() -> bool:
        nonlocal sent
        sent = topics.send(values(frame[:5]), sent)
        return any(worker.process.poll() is not None for worker in pair)

    until(one_has_stopped)
    (stopped,) = [worker for worker in pair if worker.process.poll() is not None]
    assert stopped.process.returncode == 2, stopped.log
    assert "has the same --id" in stopped.log
    sent = topics.send(values(frame[:5]), sent)
    numbers = [verdict.number for verdict in topics.read(topics.verdicts, sent)]
    assert sorted(numbers) == list(range(sent))
