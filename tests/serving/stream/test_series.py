"""Series: however rows are cut into batches, come again or find another worker, their verdicts are those of `residuum score`."""

from __future__ import annotations

import contextlib
import json
import resource
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from detector.errors import StreamError
from detector.scorer import Scorer
from serving.log import configure_logging
from serving.model import Model
from serving.stream.base import DeadLetter, ScoredBatch
from serving.stream.changelog_records import ChangelogRecord
from serving.stream.metrics import StreamMetrics
from serving.stream.scoring import Judge, Limits
from serving.stream.series_state import SeriesState
from serving.stream.state_store import FilePosition, StateStore
from serving.stream.text import ENCODER, LineBatch
from tests.presses import LENGTH
from tests.serving.stream.conftest import RUN, Start, check_series, machines, until, values
from tests.serving.stream.test_judge import failing_above
from tests.serving.stream.test_text import row_of, said

FRAME = machines(150)
LINES = values(FRAME)
LIMITS = Limits(2**20, 8, 10_000)
WHERE = FilePosition(1, "", 0, 0, 1)


@pytest.fixture
def model(presses: tuple[Path, str]) -> Model:
    configure_logging("json")
    return Model("presses", Scorer.open(presses[0], "cpu"))


class Worker:
    """What a worker on lines does of series, without its process."""

    def __init__(self, model: Model, standing: StateStore, state_memory: int | None = None) -> None:
        self.metrics = StreamMetrics(list)
        self.runs = SeriesState(model, self.metrics, state_memory)
        self._judge = Judge(model, LIMITS, self.runs)
        self._standing = standing

    def judged(self, lines: Sequence[bytes], row: int = 1) -> ScoredBatch:
        """Judge a batch that may not be delivered."""
        batch = LineBatch(b"".join(line + b"\n" for line in lines), "-", row)
        return self._judge(batch, lambda _: self._standing.records())

    def deliver(self, lines: Sequence[bytes], row: int = 1) -> ScoredBatch:
        """Judge a batch, and keep where it ends."""
        outcome = self.judged(lines, row)
        self._standing.commit(WHERE, outcome.changes)
        self.runs.commit()
        return outcome

    def change_model(self, model: Model) -> None:
        self.runs.change_model(model)
        self._judge = Judge(model, LIMITS, self.runs)


@pytest.fixture
def standing(tmp_path: Path) -> Iterator[StateStore]:
    made = StateStore(tmp_path / "state")
    with contextlib.closing(made):
        yield made


def told(outcomes: Sequence[ScoredBatch]) -> list[dict[str, object]]:
    return [msgspec.json.decode(ENCODER.encode(verdict)) for outcome in outcomes for verdict in outcome.verdicts]


@pytest.mark.parametrize("seed", range(3))
def test_batches_that_come_again_and_workers_that_end_change_no_verdict(model: Model, standing: StateStore, seed: int) -> None:
    random, worker, outcomes, at = np.random.default_rng(seed), Worker(model, standing), [], 0
    while at < len(LINES):
        size = int(random.choice([1, 2, 5, 12]))
        match random.integers(4):
            case 0:  # not delivered: it comes again, cut in another way
                worker.judged(LINES[at : at + size + 3])
            case 1:  # a sudden end, before or after a batch was delivered
                worker.judged(LINES[at : at + size])
                worker = Worker(model, standing)
            case 2:  # another version with the same columns and window
                worker.change_model(Model("presses", model.scorer))
        outcomes.append(worker.deliver(LINES[at : at + size], at + 1))
        at += size
    check_series(told(outcomes), FRAME, model.scorer.folder)
    assert not any(outcome.dead_letters for outcome in outcomes)


def test_what_has_no_place_in_a_series_is_a_letter_named_so(model: Model, standing: StateStore) -> None:
    worker, row = Worker(model, standing), FRAME.row(20, named=True)
    worker.deliver(LINES[:41])
    bad = {
        "too old": row,
        "no time": row | {"ts": None},
        "no key": row | {"machine": None},
        "wrong type": row | {"ts": "yesterday"},
        "not JSON": None,
    }
    lines = [b"{" if value is None else json.dumps(value).encode() for value in bad.values()]
    outcome = worker.deliver([*lines, LINES[41]], 42)
    assert [letter.reason for letter in outcome.dead_letters] == list(bad)
    assert f"after {FRAME['ts'][40]}" in outcome.dead_letters[0].reject.expected
    rest = worker.deliver(LINES[42:], 48)
    whole = told([Worker(model, StateStore(Path("nowhere"))).judged(LINES)])
    assert [one | {"origin": None} for one in told([outcome, rest])] == [one | {"origin": None} for one in whole[41:]]


def test_a_row_on_which_the_scorer_fails_leaves_no_trace(model: Model, standing: StateStore) -> None:
    hot = FRAME.with_columns(heat=pl.when(pl.int_range(pl.len()).is_in([50, 90, 91])).then(1e6).otherwise("heat"))
    worker = Worker(failing_above(model.scorer, "heat", 1e5), standing)
    outcomes = [worker.deliver(values(hot[:80])), worker.deliver(values(hot[80:]), 81)]
    letters: list[DeadLetter] = [letter for outcome in outcomes for letter in outcome.dead_letters]
    assert [letter.reason for letter in letters] == ["scorer failed"] * 3
    kept = hot.filter(pl.col("heat") < 1e5)
    check_series(told(outcomes), kept, model.scorer.folder)


def test_a_version_with_another_window_warms_up_and_a_restart_knows_it(model: Model, standing: StateStore) -> None:
    worker = Worker(model, standing)
    worker.deliver(LINES[:60])
    manifest = model.scorer.manifest
    assert manifest.window
    other = msgspec.structs.replace(manifest, window=msgspec.structs.replace(manifest.window, max_gap=61.0))
    changed = Scorer.open(model.scorer.folder, "cpu")
    changed.manifest = other
    worker.change_model(Model("presses", changed))
    after = [worker.deliver(LINES[60:70])]
    after.append(Worker(Model("presses", changed), standing).deliver(LINES[70:90]))
    states = [one["state"] for one in told(after)]
    assert states == ["warming up"] * (2 * (LENGTH - 1)) + ["judged"] * (30 - 2 * (LENGTH - 1))


def test_the_coldest_keys_are_forgotten_warm_up_again_and_are_counted(model: Model, standing: StateStore) -> None:
    size = 8 * LENGTH * len(model.scorer.columns) + 400
    worker = Worker(model, standing, state_memory=size)
    press, lathe = (values(FRAME.filter(machine=name)) for name in ("press", "lathe"))
    worker.deliver(press[:20])
    worker.deliver(lathe[:20])
    for one in (worker, Worker(model, standing, state_memory=size)):
        again = one.judged(press[20:])
        assert [verdict.state for verdict in again.verdicts[: LENGTH - 1]] == ["warming up"] * (LENGTH - 1)
    assert worker.metrics.registry.get_sample_value("residuum_stream_series_evictions_total") == 1
    assert worker.metrics.registry.get_sample_value("residuum_stream_series_keys") == 1
    assert worker.metrics.registry.get_sample_value("residuum_stream_series_bytes") == size
    assert {slot.key for slot in standing.records()} == {"lathe"}


def test_a_state_file_holds_the_newest_rows_of_each_key_and_no_more(model: Model, standing: StateStore) -> None:
    worker = Worker(model, standing)
    for at in range(0, len(LINES), 7):
        worker.deliver(LINES[at : at + 7])
    slots = list(standing.records())
    assert len(slots) == 2 * LENGTH
    assert all(len(slot.value or b"") < 8 * len(model.scorer.columns) + 64 for slot in slots)
    assert isinstance(slots[0], ChangelogRecord)


@pytest.mark.parametrize(
    "broken",
    [
        "update position set said = 7",
        """update position set said = '{"inode":1,"head":"","head_bytes":0,"offset":-5,"row":1}'""",
        "update slots set value = 7",
        "drop table slots",
    ],
)
def test_a_state_file_that_is_broken_says_so(standing: StateStore, tmp_path: Path, broken: str) -> None:
    standing.commit(WHERE, [ChangelogRecord(-1, "press", 0, b"row")])
    with contextlib.closing(sqlite3.connect(tmp_path / "state")) as file, file:
        file.execute(broken)
    with pytest.raises(StreamError, match=r"is not a valid state file.*--state"):
        _ = standing.position(), list(standing.records())


def test_another_programs_database_is_refused_and_left_as_it_is(standing: StateStore, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "state")) as file, file:
        file.execute("create table invoices (number integer)")
    before = (tmp_path / "state").read_bytes()
    with pytest.raises(StreamError, match=r"another program's database.*--state"):
        standing.position()
    with pytest.raises(StreamError, match="another program's database"):
        standing.commit(WHERE, [])
    assert (tmp_path / "state").read_bytes() == before


@pytest.mark.parametrize("number", [0, -5, 2**63 - 1, -(2**63)])
def test_a_strangers_slot_makes_its_key_warm_up(model: Model, standing: StateStore, number: int) -> None:
    worker = Worker(model, standing)
    worker.deliver(LINES[:40])
    strange = next(slot for slot in standing.records() if slot.key == "press")
    assert strange.value
    changed = strange.value[:12] + struct.pack("<q", number) + strange.value[20:]
    standing.commit(WHERE, [strange._replace(value=changed)])
    outcome = Worker(model, standing).judged(LINES[40:42])
    assert [verdict.state for verdict in outcome.verdicts] == ["judged", "warming up"]  # of the lathe, of the press


def test_a_pipe_of_series_is_judged_to_its_end(presses: tuple[Path, str]) -> None:
    command = [sys.executable, "-c", RUN, "stream", presses[0], "--from", "-", "--to", "-"]
    done = subprocess.run([*map(str, command)], input=b"\n".join(LINES), capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    check_series([json.loads(line) for line in done.stdout.splitlines()], FRAME, presses[0])


def test_a_killed_worker_finds_its_windows_again(start: Start, presses: tuple[Path, str], tmp_path: Path) -> None:
    path, out, state = tmp_path / "readings.ndjson", tmp_path / "verdicts.ndjson", tmp_path / "state"
    path.write_bytes(b"".join(line + b"\n" for line in LINES[:70]))
    flags = ("--from", path, "--to", out, "--state", state)
    small = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, {resource.RLIM_INFINITY})); "
    command = [sys.executable, "-c", small + RUN, "stream", presses[0], "--from", path, "--to", "-", "--state", state]
    full = subprocess.run([*map(str, command)], capture_output=True, check=False, timeout=60)
    assert full.returncode == 2
    assert b"cannot write the position to" in full.stderr.splitlines()[-1]
    worker = start(*flags, at=presses[0])
    until(lambda: len(said(out)) == 70)
    worker.kill()
    with path.open("ab") as file:
        file.writelines(line + b"\n" for line in LINES[70:])
    worker = start(*flags, at=presses[0])
    until(lambda: b'"row":300}' in out.read_bytes()[-2000:])
    assert worker.stop() == 0
    by_row = {row_of(each): each for each in said(out)}
    check_series([by_row[row] for row in range(1, 301)], FRAME, presses[0])
