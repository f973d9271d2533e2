"""Brokers that all processes of a test run share: the first user starts them, and the last one stops them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.alone import alone
from tests.kafka.brokers import Cluster, missing
from tests.programs import CI

_STARTED: list[Cluster] = []  # referenced, so that no warning is raised about running processes


@contextlib.contextmanager
def shared(folder: Path, brokers: int) -> Iterator[str]:
    """Yield the address of shared brokers; skip the test, or fail it in CI, where none can run."""
    if brokers == 1 and (bootstrap := os.environ.get("KAFKA_BOOTSTRAP")):
        yield bootstrap
        return
    requires_programs()
    state_file, lock = folder / f"brokers-{brokers}.json", folder / f"brokers-{brokers}.lock"
    with alone(lock):
        state = json.loads(state_file.read_text()) if state_file.exists() else _start(folder, brokers)
        state["users"] += 1
        state_file.write_text(json.dumps(state))
    try:
        yield state["bootstrap"]
    finally:
        with alone(lock):
            state = json.loads(state_file.read_text())
            state["users"] -= 1
            if state["users"]:
                state_file.write_text(json.dumps(state))
            else:
                state_file.unlink()
                for process in state["processes"]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)


@contextlib.contextmanager
def exclusive(folder: Path, brokers: int) -> Iterator[Cluster]:
    """Yield brokers for one test, which may kill them."""
    requires_programs()
    cluster = Cluster(Path(tempfile.mkdtemp(dir=folder)), brokers)
    try:
        yield cluster.start()
    finally:
        cluster.stop()


def requires_programs() -> None:
    """Skip the test where no broker can run; fail it in CI."""
    if message := missing():
        if os.environ.get(CI):
            pytest.fail(message)
        pytest.skip(message)


def _start(folder: Path, brokers: int) -> dict[str, object]:
    """Start brokers that outlive this process."""
    number = sum(1 for _ in folder.glob(f"cluster-{brokers}-*"))
    cluster = Cluster(folder / f"cluster-{brokers}-{number}", brokers).start()
    _STARTED.append(cluster)
    return {"bootstrap": cluster.bootstrap, "processes": [process.pid for process in cluster.processes], "users": 0}
