"""Several workers on one port."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.serving.http.conftest import ASK, ServiceProcess, StartProcess, free_port, until


def workers_of(service: ServiceProcess, tries: int = 600) -> set[str]:
    """Send requests on new connections until two workers have answered; return their numbers."""
    found: set[str] = set()
    for _ in range(tries):
        with contextlib.suppress(httpx.HTTPError):
            found |= set(re.findall(r'residuum_worker_info{worker="(\d)"}', ASK.get(f"{service.url}/metrics").text))
        if len(found) > 1:
            break
        time.sleep(0.05)
    return found


def test_two_workers_share_a_port_and_a_dead_one_is_restarted(start_process: StartProcess, tmp_path: Path) -> None:
    targets, port = tmp_path / "targets.json", free_port()
    service = start_process("--workers", 2, "--metrics-port", port, "--metrics-targets", targets, "--log", "json")
    assert workers_of(service) == {"0", "1"}
    (group,) = json.loads(targets.read_text())
    assert group["targets"] == [f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}"]
    for place, target in enumerate(group["targets"]):
        assert f'residuum_worker_info{{worker="{place}"}} 1.0' in ASK.get(f"http://{target}/metrics").text
    assert service.post([{}]).status_code == 200

    (victim, *_) = children_of(service.process.pid)
    os.kill(victim, signal.SIGKILL)
    until(lambda: "worker died" in service.log)
    assert workers_of(service) == {"0", "1"}
    assert service.stop() == 0
    assert [json.loads(line)["event"] for line in service.log.splitlines()].count("stopped") == 2


def test_workers_do_not_outlive_their_parent(
    start_process: StartProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    service = start_process("--workers", 2)
    assert workers_of(service) == {"0", "1"}
    children = children_of(service.process.pid)
    service.process.kill()
    service.process.wait()
    until(lambda: not any(Path(f"/proc/{child}/cmdline").exists() for child in children))
    assert not list(tmp_path.glob("residuum-*"))


def test_a_worker_that_cannot_start_is_a_failed_start(start_process: StartProcess, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="is not a folder"):
        start_process("--workers", 2, at=tmp_path / "nowhere")


def children_of(pid: int) -> list[int]:
    """Return the process IDs of the workers of a service."""
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
