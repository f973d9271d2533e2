"""A worker that is killed and frozen while its file is rotated by logrotate and its writer goes on: each line has a verdict."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from detector.scorer import Scorer
from serving.stream.settings import StreamSettings
from tests.serving.stream.conftest import (
    SEED,
    TORTURE,
    StartProcess,
    StartThread,
    check,
    lines_of,
    rows,
    until,
    values,
)
from tests.serving.stream.rotated import ZSTD, RotatedLog

FRAME = rows(1500, seed=SEED)
LINES = [value + b"\n" for value in values(FRAME)]
SEQUENCES = range(SEED, SEED + (100 if TORTURE else 2))
STEPS = 12
LAST = len(LINES) - 10  # the others come at the end


class Writer(threading.Thread):
    """Writes lines all the time, in a few pieces each of which holds whole lines or, sometimes, ends within one."""

    def __init__(self, log: RotatedLog, seed: int) -> None:
        super().__init__(daemon=True)
        self._log = log
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self._ended = threading.Event()
        self.lock = threading.Lock()  # nothing is written between copy and truncation: those lines are in no file

    def run(self) -> None:
        while not self._ended.wait(self._chance.uniform(0, 0.04)):
            with self.lock:
                if self._chance.random() < 0.2 and self._log.count < LAST:
                    self._log.write_part()
                self._log.write(min(self._chance.choice([1, 1, 1, 2, 5]), LAST - self._log.count))

    def stop(self) -> None:
        """Write the rest to the file that has the name now."""
        self._ended.set()
        self.join()
        self._log.reopen()
        self._log.write(len(LINES) - self._log.count)


@pytest.mark.long
@pytest.mark.parametrize("seed", SEQUENCES)
def test_every_line_has_a_verdict_through_rotations_kills_and_freezes(
    seed: int, start_process: StartProcess, pumps: Path, tmp_path: Path
) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    path, out = tmp_path / "readings.ndjson", tmp_path / "verdicts.ndjson"
    suffix = ".zst" if ZSTD and seed % 2 else ".gz"
    log = RotatedLog(path, LINES.__getitem__, is_delayed=chance.choice([None, False, True]), suffix=suffix)
    writer = Writer(log, seed)
    options = ("--from", path, "--to", out, "--rotation-idle", "0.5")
    with contextlib.closing(log):
        workers = [start_process(*options)]
        until(lambda: "streaming" in workers[-1].log)
        writer.start()
        for _ in range(STEPS):
            time.sleep(chance.uniform(0, 0.3))
            step = chance.choice(["rotate", "rotate", "copy", "reopen", "reopen", "freeze", "thaw", "kill"])
            if step == "kill":
                workers[-1].kill()
                workers.append(start_process(*options))
                if chance.random() < 0.7:  # else the next steps come while no worker runs
                    until(lambda: "streaming" in workers[-1].log)
            elif step in {"freeze", "thaw"}:
                workers[-1].process.send_signal(signal.SIGSTOP if step == "freeze" else signal.SIGCONT)
            else:
                with writer.lock:
                    log.reopen() if step == "reopen" else log.rotate(is_copied=step == "copy")
        writer.stop()
        workers[-1].process.send_signal(signal.SIGCONT)
        expected = Scorer.open(pumps, "cpu").score(FRAME).score
        until(lambda: len(lines_of(out)) >= len(LINES) and len(found(out, expected)) == len(LINES))
    assert workers[-1].stop() == 0
    counts = found(out, expected)
    assert len(workers) > 1 or set(counts.values()) == {1}
    assert not any("lines of a file were lost" in each.log for each in workers)


def found(out: Path, expected: np.ndarray) -> Counter[int]:
    """Return how many verdicts each row has, recognised by its score."""
    scores = np.array([line["anomaly_score"] for line in lines_of(out)])
    if not len(scores):
        return Counter()
    nearest = np.abs(scores[:, None] - expected[None, :]).argmin(axis=1)
    assert np.allclose(scores, expected[nearest], rtol=1e-5)
    return Counter(nearest.tolist())


@pytest.mark.parametrize("renames", [1, 2])
def test_a_writer_that_goes_on_in_the_renamed_file(renames: int, start_thread: StartThread, pumps: Path, tmp_path: Path) -> None:
    """The worker stops between, and comes back after the last line."""
    path, out = tmp_path / "readings.ndjson", tmp_path / "verdicts.ndjson"
    log = RotatedLog(path, LINES.__getitem__)
    settings = StreamSettings(source=path, sink=out, group="none", rotation_idle=0.3)
    worker = start_thread(settings)
    with contextlib.closing(log):
        log.write(100)
        until(lambda: len(lines_of(out)) == 100)
        worker.stop() if renames == 2 else None
        for _ in range(renames):
            log.rotate()
        for _ in range(10):
            log.write(10)
            time.sleep(0.02)
        log.reopen()
        log.write(100)
        worker = start_thread(settings) if renames == 2 else worker
        until(lambda: len(lines_of(out)) == 300)
    worker.stop()
    check(lines_of(out), FRAME[:300], pumps)
    assert worker.metric("residuum_stream_lost_ranges_total", file=str(path)) == 0
