"""Brokers that all processes of a test run share: the first that wants them starts them, the last one ends them."""

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

_STARTED: list[Cluster] = []  # kept, so that nobody wonders at processes that still run


@contextlib.contextmanager
def shared(folder: Path, brokers: int) -> Iterator[str]:
    """Lend the address of brokers; skips, unless that is forbidden, where there can be none."""
    if brokers == 1 and (given := os.environ.get("KAFKA_BOOTSTRAP")):
        yield given
        return
    _demand()
    place, lock = folder / f"brokers-{brokers}.json", folder / f"brokers-{brokers}.lock"
    with alone(lock):
        found = json.loads(place.read_text()) if place.exists() else _started(folder, brokers)
        found["users"] += 1
        place.write_text(json.dumps(found))
    try:
        yield found["bootstrap"]
    finally:
        with alone(lock):
            found = json.loads(place.read_text())
            found["users"] -= 1
            if found["users"]:
                place.write_text(json.dumps(found))
            else:
                place.unlink()
                for process in found["processes"]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)


@contextlib.contextmanager
def own(folder: Path, brokers: int) -> Iterator[Cluster]:
    """Lend brokers to one test alone, which may kill them."""
    _demand()
    cluster = Cluster(Path(tempfile.mkdtemp(dir=folder)), brokers)
    try:
        yield cluster.start()
    finally:
        cluster.stop()


def _demand() -> None:
    """Skip where there can be no brokers, unless that is forbidden."""
    if lacking := missing():
        if os.environ.get(CI):
            pytest.fail(lacking)
        pytest.skip(lacking)


def _started(folder: Path, brokers: int) -> dict[str, object]:
    """Start brokers that outlive the process that starts them."""
    number = sum(1 for _ in folder.glob(f"cluster-{brokers}-*"))
    cluster = Cluster(folder / f"cluster-{brokers}-{number}", brokers).start()
    _STARTED.append(cluster)
    return {"bootstrap": cluster.bootstrap, "processes": [process.pid for process in cluster.processes], "users": 0}
