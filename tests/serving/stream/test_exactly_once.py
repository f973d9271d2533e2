"""Each record has exactly one verdict or dead letter, and the right one, whatever happens to the worker."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import polars as pl

from tests.serving.stream.conftest import QUICK, Start, Topics, check, rows, values

BAD = (b"{", b'{"temperature": "hot"}', b"", None, b"[1]", b'"x"', b"\xff\xfe")


class Flow(threading.Thread):
    """Records that keep coming, one in fifty of them bad."""

    def __init__(self, topics: Topics, frame: pl.DataFrame, rate: float) -> None:
        super().__init__(daemon=True)
        self._topics = topics
        self._rate = rate
        good = values(frame)
        self.sent: list[bytes | None] = [BAD[at % len(BAD)] if at % 50 == 7 else value for at, value in enumerate(good)]
        self.begun = threading.Event()

    def run(self) -> None:
        """Send, a handful at a time."""
        handful = max(1, int(self._rate / 20))
        for at in range(0, len(self.sent), handful):
            self._topics.send(self.sent[at : at + handful], at)
            self.begun.set()
            time.sleep(handful / self._rate)


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


def test_every_record_is_judged_once_though_the_worker_is_killed_again_and_again(broker: str, pumps: Path, start: Start) -> None:
    topics, frame, chance = Topics(broker), rows(6000), np.random.default_rng(1)
    flow = Flow(topics, frame, rate=600)
    flow.start()
    for _ in range(4):
        worker = start(*topics.flags, *QUICK, "--id", "one")
        time.sleep(chance.uniform(0.8, 2.5))
        worker.kill()
    worker = start(*topics.flags, *QUICK, "--id", "one")
    settle(topics, flow, frame, pumps)
    assert worker.stop() == 0
