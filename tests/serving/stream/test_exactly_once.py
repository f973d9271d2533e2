"""Each record has exactly one verdict or dead letter, and the right one, whatever happens to the worker."""

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

from tests.kafka.shared import own
from tests.serving.stream.conftest import (
    QUICK,
    SEED,
    TORTURE,
    Read,
    Start,
    Topics,
    Worker,
    check,
    check_series,
    machines,
    rows,
    until,
    values,
)

KILLS, FREEZES, CHANGES = (200, 20, 60) if TORTURE else (20, 1, 5)
RATE = 400  # records a second

BAD = (b"{", b'{"temperature": "hot"}', b"", None, b"[1]", b'"x"', b"\xff\xfe")


class Flow(threading.Thread):
    """Records that keep coming, one in fifty of them bad."""

    def __init__(self, topics: Topics, frame: pl.DataFrame, rate: float) -> None:
        super().__init__(daemon=True)
        self._topics = topics
        self._rate = rate
        good = values(frame)
        self.sent: list[bytes | None] = [BAD[at % len(BAD)] if at % 50 == 7 else value for at, value in enumerate(good)]

    def put(self, at: int, handful: Sequence[bytes | None]) -> None:
        """Send a handful."""
        self._topics.put(handful, at)

    def run(self) -> None:
        """Send, a handful at a time."""
        began, handful = time.monotonic(), max(1, int(self._rate / 20))
        for at in range(0, len(self.sent), handful):
            self.put(at, self.sent[at : at + handful])
            time.sleep(max(0.0, began + (at + handful) / self._rate - time.monotonic()))
        self._topics.flush()


class SeriesFlow(Flow):
    """Rows of machines that keep coming, each machine's by its key; one in fifty records of them bad."""

    def __init__(self, topics: Topics, frame: pl.DataFrame, rate: float) -> None:
        super().__init__(topics, frame, rate)
        self._keys = frame["machine"].to_list()
        self.last = threading.Event()  # the last rows wait for it, and with it for the last worker

    def put(self, at: int, handful: Sequence[bytes | None]) -> None:
        """Send a handful."""
        if at > 0.9 * len(self.sent):
            self.last.wait()
        self._topics.put_keyed(zip(self._keys[at : at + len(handful)], handful, strict=True))


def settle_series(topics: Topics, flow: SeriesFlow, frame: pl.DataFrame, bundle: Path, *, once: bool = True) -> None:
    """Wait for the last verdict on rows of machines, and hold all of them against what was sent.

    Unless each comes `once`, those that come again have to say the same.
    """
    within = 60
    flow.last.set()
    flow.join()
    good = frame.filter(pl.int_range(pl.len()) % 50 != 7)
    bad = flow.sent[7::50]
    found: dict[tuple[int, int], Read] = {}
    verdicts: list[Read] = []

    def all_answered() -> bool:
        verdicts[:] = topics.read(topics.verdicts, good.height, within)
        found.update((place_of(each), each) for each in verdicts)
        return len(found) >= good.height

    until(all_answered)
    letters = topics.read(topics.letters, len(bad), within)
    if once:
        assert len(verdicts) == len(found) == good.height
        assert sorted(repr(each.value) for each in letters) == sorted(map(repr, bad))
    assert all(each.value == found[place_of(each)].value for each in verdicts)
    assert {each.value for each in letters} == set(bad)
    for (name,), rows_ in good.group_by("machine"):
        mine = [each.said for _, each in sorted(found.items()) if each.key == str(name).encode()]
        check_series(mine, rows_, bundle)


def place_of(verdict: Read) -> tuple[int, int]:
    """Give the partition and offset of a verdict's record."""
    origin = verdict.said["origin"]
    assert isinstance(origin, dict)
    return origin["partition"], origin["offset"]


def settle(topics: Topics, flow: Flow, frame: pl.DataFrame, bundle: Path, within: float = 60) -> None:
    """Wait for the last verdict, and hold all of them against what was sent."""
    flow.join()
    bad = [at for at, value in enumerate(flow.sent) if at % 50 == 7]
    letters = topics.read(topics.letters, len(bad), within)
    verdicts = topics.read(topics.verdicts, len(flow.sent) - len(bad), within)
    assert sorted(int(each.key or b"-1") for each in letters) == bad
    assert all(each.value == flow.sent[int(each.key or b"-1")] for each in letters)
    keys = sorted(int(each.key or b"-1") for each in verdicts)
    good = [at for at in range(len(flow.sent)) if at % 50 != 7]
    assert keys == good
    by_key = {int(each.key or b"-1"): each.said for each in verdicts}
    check([by_key[at] for at in good], frame[good], bundle)


@pytest.mark.long
def test_killed_again_and_again_while_a_broker_goes_and_comes_back(run_folder: Path, pumps: Path, start: Start) -> None:
    """Kill -9 at random points, on three brokers, one of which is killed too: leaders move, of topics and of transactions."""
    chance = np.random.default_rng(SEED)
    with own(run_folder, 3) as cluster:
        topics, frame = Topics(cluster.bootstrap, copies=3), rows(int(KILLS * 1.3 * RATE))
        flow = Flow(topics, frame, RATE)
        flow.start()
        for number in range(KILLS):
            worker = start(*topics.flags, *QUICK, "--id", "one")
            if number % 20 == 4:
                cluster.kill(number // 20 % 3)
            if number % 20 == 8:
                cluster.revive(number // 20 % 3)
            if number % 4:
                until(lambda: "partitions assigned" in worker.log)  # noqa: B023 - called at once
            time.sleep(chance.uniform(0, 0.6))
            worker.kill()
        worker = start(*topics.flags, *QUICK, "--id", "one")
        settle(topics, flow, frame, pumps)
        assert worker.stop() == 0


@pytest.mark.parametrize("kills", [2, pytest.param(KILLS, marks=pytest.mark.long)])
def test_series_go_on_where_a_killed_worker_stood(kills: int, broker: str, presses: tuple[Path, str], start: Start) -> None:
    """Windows come back from the changelog: keys are interleaved, and alarms are on when the worker dies."""
    chance, names = np.random.default_rng(SEED), [f"machine {number}" for number in range(6)]
    topics, frame = Topics(broker, 3).for_series(), machines(int(kills * 1.6 * RATE) // len(names), names)
    flow = SeriesFlow(topics, frame, RATE)
    flow.start()
    for number in range(kills):
        worker = start(*topics.flags, *QUICK, "--id", "one", at=presses[0])
        if number % 4 != 3:
            until(lambda: "partitions assigned" in worker.log)  # noqa: B023 - called at once
        if not number:
            topics.read(topics.verdicts, 200)  # so that windows are whole
        time.sleep(chance.uniform(0, 0.6))
        worker.kill()
    worker = start(*topics.flags, *QUICK, "--id", "one", at=presses[0])
    settle_series(topics, flow, frame, presses[0])
    assert "series restored" in worker.log
    assert worker.stop() == 0


@pytest.mark.long
@pytest.mark.parametrize("of", ["rows", "series"])
def test_frozen_beyond_its_session_it_commits_nothing(
    of: str, broker: str, pumps: Path, start: Start, request: pytest.FixtureRequest
) -> None:
    """A worker that was stopped, and whose partitions are another's by then, wakes up in the middle of what it did."""
    topics, count, chance = Topics(broker, 4), FREEZES * 7 * RATE, np.random.default_rng(SEED)
    if of == "rows":
        bundle, frame = pumps, rows(count)
        flow = Flow(topics, frame, RATE)
    else:
        names = [f"machine {number}" for number in range(12)]
        bundle, frame = request.getfixturevalue("presses")[0], machines(count // len(names), names)
        flow = SeriesFlow(topics.for_series(), frame, RATE)
        flow.last.set()
    flow.start()
    pair = [start(*topics.flags, *QUICK, at=bundle) for _ in range(2)]
    until(lambda: all("partitions assigned" in worker.log for worker in pair))
    for number in range(FREEZES):
        frozen = pair[number % 2]
        time.sleep(chance.uniform(0.2, 0.6))
        frozen.process.send_signal(signal.SIGSTOP)
        time.sleep(5.5)  # beyond the session, and beyond what a transaction may take
        frozen.process.send_signal(signal.SIGCONT)
    if isinstance(flow, SeriesFlow):
        settle_series(topics, flow, frame, bundle)
    else:
        settle(topics, flow, frame, bundle)
    assert all("partitions lost" in worker.log or "connection lost" in worker.log for worker in pair[: min(2, FREEZES)])
    assert [worker.stop() for worker in pair] == [0, 0]


def come_and_go(another: Callable[[], Worker], *, kills: bool) -> list[Worker]:
    """Start one worker after the other, and ask earlier ones to end, or kill them; give those that are left."""
    chance, working = np.random.default_rng(SEED), [another()]
    for number in range(CHANGES):
        working.append(another())
        time.sleep(chance.uniform(0.8, 2))
        if number % 3:
            leaving = working.pop(0)
            until(lambda: '"streaming"' in leaving.log)  # noqa: B023 - called at once
            assert leaving.stop() == 0, leaving.log
        elif kills and number:
            working.pop(0).kill()
    return working


@pytest.mark.long
@pytest.mark.parametrize(("guarantee", "protocol"), [("exactly-once", "classic"), ("at-least-once", "consumer")])
def test_series_follow_their_partitions(
    guarantee: str, protocol: str, broker: str, presses: tuple[Path, str], start: Start
) -> None:
    """Workers come, go and are killed; a partition's windows are with whoever has it."""
    names = [f"machine {number}" for number in range(12)]
    topics, frame = Topics(broker, 4).for_series(), machines(CHANGES * 2 * RATE // len(names), names)
    quick = QUICK if protocol == "classic" else QUICK[-2:]
    flags = [*topics.flags, *quick, "--guarantee", guarantee, "--kafka", f"group.protocol={protocol}"]
    flow = SeriesFlow(topics, frame, RATE)
    flow.start()
    working = come_and_go(partial(start, *flags, at=presses[0]), kills=protocol == "classic")
    settle_series(topics, flow, frame, presses[0], once=guarantee == "exactly-once")
    assert [worker.stop() for worker in working] == [0] * len(working)


@pytest.mark.parametrize("protocol", [pytest.param("classic", marks=pytest.mark.long), "consumer"])
def test_workers_come_and_go(protocol: str, broker: str, pumps: Path, start: Start) -> None:
    """Some are asked to end, others are killed; partitions move all the while."""
    topics, frame = Topics(broker, 4), rows(CHANGES * 2 * RATE)
    flags = [*topics.flags, *(QUICK if protocol == "classic" else QUICK[-2:]), "--kafka", f"group.protocol={protocol}"]
    flow = Flow(topics, frame, RATE)
    flow.start()
    working = come_and_go(partial(start, *flags), kills=protocol == "classic")
    settle(topics, flow, frame, pumps)
    assert [worker.stop() for worker in working] == [0] * len(working)


@pytest.mark.long
def test_frozen_brokers_are_waited_for(run_folder: Path, pumps: Path, start: Start) -> None:
    """They answer nothing for longer than any call waits, with a transaction open; then they go on, and so does the worker."""
    with own(run_folder, 1) as cluster:
        topics, frame = Topics(cluster.bootstrap), rows(90 * RATE)
        flow = Flow(topics, frame, RATE)
        worker = start(*topics.flags, *QUICK)
        until(lambda: "partitions assigned" in worker.log)
        flow.start()
        time.sleep(3)
        cluster.processes[0].send_signal(signal.SIGSTOP)
        time.sleep(60)
        cluster.processes[0].send_signal(signal.SIGCONT)
        settle(topics, flow, frame, pumps)
        assert "connection lost" in worker.log
        assert worker.stop() == 0
