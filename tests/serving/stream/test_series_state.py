"""However rows are cut into batches, retried, or restored by another worker, their verdicts are those of `residuum score`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from detector.scorer import Scorer
from serving.log import configure_logging
from serving.model import ServedModel
from serving.stream.changelog_records import ChangelogRecord
from serving.stream.metrics import StreamMetrics
from serving.stream.scoring import RecordScorer
from serving.stream.series_state import SeriesState
from serving.stream.state_store import StateStore
from tests.presses import LENGTH
from tests.serving.stream.conftest import check_series, machines, values
from tests.serving.stream.fakes import FakeRecord, kafka_batch, no_state
from tests.serving.stream.series_worker import LIMITS, SeriesWorker, encoded
from tests.serving.stream.test_scoring import failing_above

FRAME = machines(150)
LINES = values(FRAME)


@pytest.fixture
def model(presses: tuple[Path, str]) -> ServedModel:
    configure_logging("json")
    return ServedModel("presses", Scorer.open(presses[0], "cpu"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    with contextlib.closing(StateStore(tmp_path / "state")) as opened:
        yield opened


@pytest.mark.parametrize("seed", range(3))
def test_retries_and_restarts_change_no_verdict(model: ServedModel, store: StateStore, seed: int) -> None:
    random, worker, batches, start = np.random.default_rng(seed), SeriesWorker(model, store), [], 0
    while start < len(LINES):
        size = int(random.choice([1, 2, 5, 12]))
        match random.integers(4):
            case 0:  # not delivered, and cut in another way at the next attempt
                worker.score(LINES[start : start + size + 3])
            case 1:  # a restart, before or after a batch was delivered
                worker.score(LINES[start : start + size])
                worker = SeriesWorker(model, store)
            case 2:  # another version with the same columns and window
                worker.change_model(ServedModel("presses", model.scorer))
        batches.append(worker.deliver(LINES[start : start + size], start + 1))
        start += size
    check_series(encoded(batches), FRAME, model.scorer.folder)
    assert not any(scored.dead_letters for scored in batches)


def test_rows_without_a_place_in_a_series_are_dead_letters(model: ServedModel, store: StateStore) -> None:
    worker, row = SeriesWorker(model, store), FRAME.row(20, named=True)
    worker.deliver(LINES[:41])
    bad = {
        "too old": row,
        "no time": row | {"ts": None},
        "no key": row | {"machine": None},
        "wrong type": row | {"ts": "yesterday"},
        "not JSON": None,
    }
    lines = [b"{" if value is None else json.dumps(value).encode() for value in bad.values()]
    scored = worker.deliver([*lines, LINES[41]], 42)
    assert [dead_letter.reason for dead_letter in scored.dead_letters] == list(bad)
    assert f"after {FRAME['ts'][40]}" in scored.dead_letters[0].reject.expected
    rest = worker.deliver(LINES[42:], 48)
    whole = encoded([SeriesWorker(model, StateStore(Path("nowhere"))).score(LINES)])
    without_origin = [verdict | {"origin": None} for verdict in encoded([scored, rest])]
    assert without_origin == [verdict | {"origin": None} for verdict in whole[41:]]


def test_a_row_on_which_the_scorer_fails_does_not_change_its_window(model: ServedModel, store: StateStore) -> None:
    hot = FRAME.with_columns(heat=pl.when(pl.int_range(pl.len()).is_in([50, 90, 91])).then(1e6).otherwise("heat"))
    worker = SeriesWorker(failing_above(model.scorer, "heat", 1e5), store)
    batches = [worker.deliver(values(hot[:80])), worker.deliver(values(hot[80:]), 81)]
    assert [dead_letter.reason for scored in batches for dead_letter in scored.dead_letters] == ["scorer failed"] * 3
    check_series(encoded(batches), hot.filter(pl.col("heat") < 1e5), model.scorer.folder)


def test_another_window_makes_all_keys_warm_up_also_after_a_restart(model: ServedModel, store: StateStore) -> None:
    worker = SeriesWorker(model, store)
    worker.deliver(LINES[:60])
    manifest = model.scorer.manifest
    assert manifest.window
    window = msgspec.structs.replace(manifest.window, max_gap=61.0)
    changed = Scorer.open(model.scorer.folder, "cpu")
    changed.manifest = msgspec.structs.replace(manifest, window=window)
    worker.change_model(ServedModel("presses", changed))
    after = [worker.deliver(LINES[60:70])]
    after.append(SeriesWorker(ServedModel("presses", changed), store).deliver(LINES[70:90]))
    states = [verdict["state"] for verdict in encoded(after)]
    assert states == ["warming up"] * (2 * (LENGTH - 1)) + ["scored"] * (30 - 2 * (LENGTH - 1))


def test_the_coldest_keys_are_evicted_and_counted_and_warm_up_again(model: ServedModel, store: StateStore) -> None:
    size = 8 * LENGTH * len(model.scorer.columns) + 400
    worker = SeriesWorker(model, store, state_memory=size)
    press, lathe = (values(FRAME.filter(machine=name)) for name in ("press", "lathe"))
    worker.deliver(press[:20])
    worker.deliver(lathe[:20])
    for one in (worker, SeriesWorker(model, store, state_memory=size)):
        scored = one.score(press[20:])
        assert [verdict.state for verdict in scored.verdicts[: LENGTH - 1]] == ["warming up"] * (LENGTH - 1)
    assert worker.metrics.registry.get_sample_value("residuum_stream_series_evictions_total") == 1
    assert worker.metrics.registry.get_sample_value("residuum_stream_series_keys") == 1
    assert worker.metrics.registry.get_sample_value("residuum_stream_series_bytes") == size
    assert {record.key for record in store.records()} == {"lathe"}


def test_the_store_holds_only_the_newest_rows_of_each_key(model: ServedModel, store: StateStore) -> None:
    worker = SeriesWorker(model, store)
    for start in range(0, len(LINES), 7):
        worker.deliver(LINES[start : start + 7])
    records = list(store.records())
    assert len(records) == 2 * LENGTH
    assert all(len(record.value or b"") < 8 * len(model.scorer.columns) + 64 for record in records)
    assert isinstance(records[0], ChangelogRecord)


def test_a_key_in_two_partitions_is_two_series_and_revoked_partitions_are_dropped(model: ServedModel) -> None:
    frame = machines(40, ["press"])
    lines, state = values(frame), SeriesState(model, StreamMetrics(list))
    score = RecordScorer(model, LIMITS, state)
    restored: list[list[int]] = []

    def read_state(partitions: object) -> tuple[()]:
        restored.append(list(partitions))  # type: ignore[call-overload]
        return ()

    def records(first: int, last: int) -> list[FakeRecord]:
        offsets = range(first, last)
        return [FakeRecord(b"press", lines[offset], partition, offset) for offset in offsets for partition in (0, 1)]

    scored = score(kafka_batch(records(0, 20), {0: 5, 1: 6}), read_state)
    for partition in (0, 1):
        verdicts = [each for each in encoded([scored]) if each["origin"]["partition"] == partition]  # type: ignore[index,call-overload]
        check_series(verdicts, frame[:20], model.scorer.folder)
    state.commit()
    scored = score(kafka_batch(records(20, 40), {0: 5, 1: 7}), read_state)  # 1 was revoked and assigned again
    states: dict[int, list[object]] = {0: [], 1: []}
    for verdict in encoded([scored]):
        states[verdict["origin"]["partition"]].append(verdict["state"])  # type: ignore[index,call-overload]
    assert states[0] == ["scored"] * 20
    assert states[1] == ["warming up"] * 11 + ["scored"] * 9
    assert restored == [[0, 1], [1]]


def test_a_record_with_another_key_than_its_row_is_a_dead_letter(model: ServedModel) -> None:
    lines = values(machines(20))
    wrong: dict[int, bytes | None] = {4: None, 7: b"mill", 8: b"\xff", 9: b"Press"}
    records = [
        FakeRecord(wrong.get(offset, (b"lathe", b"press")[offset % 2]), line, 0, offset) for offset, line in enumerate(lines)
    ]
    scored = RecordScorer(model, LIMITS, SeriesState(model, StreamMetrics(list)))(kafka_batch(records, {0: 0}), no_state)
    found = [(dead_letter.batch_index, dead_letter.reason) for dead_letter in scored.dead_letters]
    assert found == [(index, "wrong key") for index in wrong]
    assert scored.dead_letters[1].reject.found == "the key 'mill'"
    assert len(scored.verdicts) == 36
