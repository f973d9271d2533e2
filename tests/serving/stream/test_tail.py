"""Files that grow: rotations, restarts, sudden ends."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from serving.log import configure_logging
from serving.stream.settings import StreamSettings
from serving.stream.state_store import FilePosition, StateStore
from tests.serving.stream.conftest import (
    RUN,
    StartProcess,
    StartThread,
    check,
    check_series,
    lines_of,
    machines,
    row_of,
    rows,
    until,
    values,
)

FRAME = rows(200)
LINES = [value + b"\n" for value in values(FRAME)]
SERIES = machines(150)
SERIES_LINES = [value + b"\n" for value in values(SERIES)]


def position_in(state: Path) -> FilePosition:
    with contextlib.closing(StateStore(state)) as store:
        position = store.position()
    assert position
    return position


def append(path: Path, lines: list[bytes]) -> None:
    with path.open("ab") as file:
        file.writelines(lines)


def test_a_file_is_read_through_rotations_and_restarts(
    start_thread: StartThread, pumps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("json")
    path, out, state = tmp_path / "readings.ndjson", tmp_path / "verdicts.ndjson", tmp_path / "state"
    settings = StreamSettings(source=path, sink=out, group="none", state=state)
    worker = start_thread(settings)
    append(path, [*LINES[:50], LINES[50][:20]])
    until(lambda: len(lines_of(out)) == 50)
    append(path, [LINES[50][20:]])
    until(lambda: len(lines_of(out)) == 51)
    path.rename(tmp_path / "readings.ndjson.1")
    path.write_bytes(b"".join(LINES[51:100]))
    until(lambda: len(lines_of(out)) == 100)
    until(lambda: position_in(state).row == 50)
    worker.stop()
    append(path, LINES[100:120])
    path.rename(tmp_path / "readings.ndjson.2")
    path.write_bytes(b"".join(LINES[120:150]))
    append(out, [b'{"half a li'])  # as a sudden end leaves it
    worker = start_thread(settings)
    until(lambda: len(lines_of(out)) == 150)
    log: list[str] = []
    path.write_bytes(b"")
    until(lambda: log.append(capsys.readouterr().err) or "file was truncated" in "".join(log))
    append(path, LINES[150:])
    until(lambda: len(lines_of(out)) == 200)
    worker.stop()
    check(lines_of(out), FRAME, pumps)
    assert [row_of(line) for line in lines_of(out)[45:56]] == [*range(46, 52), *range(1, 6)]


def test_a_full_disk_and_a_killed_worker_lose_no_line_and_no_window(
    start_process: StartProcess, start_thread: StartThread, presses: tuple[Path, str], tmp_path: Path
) -> None:
    path, out, state = tmp_path / "readings.ndjson", tmp_path / "verdicts.ndjson", tmp_path / "state"
    append(path, SERIES_LINES[:70])
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, {resource.RLIM_INFINITY})); "
    command = [sys.executable, "-c", limit + RUN, "stream", presses[0], "--from", path, "--to", "-", "--state", state]
    full = subprocess.run([*map(str, command)], capture_output=True, check=False, timeout=60)
    assert full.returncode == 2
    assert b"cannot write the position to" in full.stderr.splitlines()[-1]
    assert len(full.stdout.splitlines()) == 70
    killed = start_process("--from", path, "--to", out, "--state", state, bundle=presses[0])
    until(lambda: len(lines_of(out)) == 70)
    killed.kill()
    append(path, SERIES_LINES[70:])
    worker = start_thread(StreamSettings(source=path, sink=out, group="none", state=state), presses[0])
    until(lambda: b'"row":300}' in out.read_bytes()[-2000:])
    worker.stop()
    by_row = {row_of(line): line for line in lines_of(out)}
    check_series([by_row[row] for row in range(1, 301)], SERIES, presses[0])


@pytest.mark.long
def test_a_worker_killed_within_a_long_file_loses_no_line(
    start_process: StartProcess, start_thread: StartThread, pumps: Path, tmp_path: Path
) -> None:
    path, out = tmp_path / "readings.ndjson", tmp_path / "verdicts.ndjson"
    append(path, LINES * 50)
    worker = start_process("--from", path, "--to", out)
    until(lambda: out.exists() and out.stat().st_size > 200_000)
    worker.kill()
    start_thread(StreamSettings(source=path, sink=out, group="none"))
    until(lambda: b'"row":10000}' in out.read_bytes()[-2000:])
    by_row = {row_of(line): line for line in lines_of(out)}
    assert set(by_row) == set(range(1, 10_001))
    check([by_row[row] for row in range(1, 201)], FRAME, pumps)
