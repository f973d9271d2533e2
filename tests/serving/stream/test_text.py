"""Lines in, lines out: pipes, files that grow, rotations, sudden ends."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from serving.stream.state_store import FilePosition, StateStore
from serving.stream.text import AppendFile
from tests.serving.stream.conftest import RUN, Start, check, rows, until, values

FRAME = rows(200)
LINES = [value + b"\n" for value in values(FRAME)]


def said(path: Path) -> list[dict[str, object]]:
    """Give the whole lines of a file."""
    text = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]


def row_of(verdict: dict[str, object]) -> int:
    origin = verdict["origin"]
    assert isinstance(origin, dict)
    row: int = origin["row"]
    return row


def stood(state: Path) -> FilePosition:
    """Give the position that a state file holds."""
    standing = StateStore(state)
    with contextlib.closing(standing):
        position = standing.position()
    assert position
    return position


def piped(pumps: Path, text: bytes, *flags: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", RUN, "stream", pumps, "--from", "-", "--to", "-", *flags]
    return subprocess.run([*map(str, command)], input=text, capture_output=True, check=False, timeout=60)


def test_a_pipe_is_judged_to_its_end(pumps: Path, tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf" + b"".join(LINES) + b'\n{"temperature": "hot"}\n\xff\n' + LINES[0].rstrip()
    done = piped(pumps, text)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row_of(each) for each in found] == [*range(1, 201), 202, 203, 204]
    check([each for each in found if "rejected" not in each][:200], FRAME, pumps)
    assert found[200]["rejected"] == {
        "reason": "wrong type",
        "column": "temperature",
        "found": "'hot'",
        "expected": "a number",
    }
    assert found[200]["value"] == '{"temperature": "hot"}'
    assert found[201]["value_base64"] == "/w=="
    apart = piped(pumps, text, "--dead-letters", tmp_path / "letters")
    assert len(apart.stdout.splitlines()) == 201
    assert [row_of(each) for each in said(tmp_path / "letters")] == [202, 203]


def test_a_verdict_comes_before_the_next_row_is_sent(start: Start) -> None:
    worker = start("--from", "-", "--to", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pipe = worker.process
    assert pipe.stdin
    assert pipe.stdout
    for line in LINES[:3]:
        pipe.stdin.write(line)
        pipe.stdin.flush()
        assert b"anomaly_score" in pipe.stdout.readline()
    assert worker.stop() == 0
    pipe.stdin.close()
    pipe.stdout.close()


def test_a_followed_file_is_read_through_rotations_and_restarts(start: Start, pumps: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "readings.ndjson", tmp_path / "verdicts.ndjson"
    flags = ("--from", path, "--to", out, "--state", tmp_path / "state")
    worker = start(*flags)
    with path.open("ab") as file:
        file.writelines(LINES[:50])
        file.write(LINES[50][:20])
        file.flush()
        until(lambda: len(said(out)) == 50)
        file.write(LINES[50][20:])
    until(lambda: len(said(out)) == 51)
    path.rename(tmp_path / "readings.ndjson.1")
    path.write_bytes(b"".join(LINES[51:100]))
    until(lambda: len(said(out)) == 100)
    until(lambda: stood(tmp_path / "state").row == 50)  # else the last lines come twice
    worker.kill()
    with path.open("ab") as file:
        file.writelines(LINES[100:120])
    path.rename(tmp_path / "readings.ndjson.2")
    path.write_bytes(b"".join(LINES[120:150]))
    with out.open("ab") as file:
        file.write(b'{"half a li')  # as a sudden end leaves it
    worker = start(*flags)
    until(lambda: len(said(out)) == 150)
    path.write_bytes(b"")
    until(lambda: "file was truncated" in worker.log)
    with path.open("ab") as file:
        file.writelines(LINES[150:])
    until(lambda: len(said(out)) == 200)
    check(said(out), FRAME, pumps)
    assert [row_of(each) for each in said(out)[45:56]] == [*range(46, 52), *range(1, 6)]
    assert worker.stop() == 0


def test_a_killed_worker_loses_no_line(start: Start, pumps: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "readings.ndjson", tmp_path / "verdicts.ndjson"
    with path.open("wb") as file:
        for _ in range(50):
            file.writelines(LINES)
    flags = ("--from", path, "--to", out)
    worker = start(*flags)
    until(lambda: out.exists() and out.stat().st_size > 200_000)
    worker.kill()
    worker = start(*flags)
    until(lambda: b'"row":10000}' in out.read_bytes()[-2000:])
    assert worker.stop() == 0
    by_row = {row_of(each): each for each in said(out)}
    assert set(by_row) == set(range(1, 10_001))
    check([by_row[row] for row in range(1, 201)], FRAME, pumps)


def test_a_full_disk_under_the_position_stops_it_and_loses_nothing(start: Start, pumps: Path, tmp_path: Path) -> None:
    path, out, state = tmp_path / "readings.ndjson", tmp_path / "verdicts.ndjson", tmp_path / "full" / "state"
    path.write_bytes(b"".join(LINES[:100]))
    state.parent.mkdir()
    small = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, {resource.RLIM_INFINITY})); "
    command = [sys.executable, "-c", small + RUN, "stream", pumps, "--from", path, "--to", "-", "--state", state]
    full = subprocess.run([*map(str, command)], capture_output=True, check=False, timeout=60)
    assert full.returncode == 2
    assert b"cannot write the position to" in full.stderr.splitlines()[-1]
    assert len(full.stdout.splitlines()) == 100
    worker = start("--from", path, "--to", out, "--state", state)
    until(lambda: len(said(out)) == 100)
    check(said(out), FRAME[:100], pumps)
    assert worker.stop() == 0


def test_a_full_disk_under_the_verdicts_stops_it_in_one_line(pumps: Path, tmp_path: Path) -> None:
    path = tmp_path / "readings.ndjson"
    path.write_bytes(b"".join(LINES))
    small = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4000, {resource.RLIM_INFINITY})); "
    command = [sys.executable, "-c", small + RUN, "stream", pumps, "--from", path, "--to", tmp_path / "out"]
    full = subprocess.run([*map(str, command)], capture_output=True, check=False, timeout=60, text=True)
    assert full.returncode == 2
    assert "error: cannot write" in full.stderr.splitlines()[-1]
    AppendFile(str(tmp_path / "out")).close()
    assert (tmp_path / "out").read_bytes().endswith(b"}\n")


@pytest.mark.parametrize(
    ("flags", "said_then"),
    [
        (("--from", "redis://x/y", "--to", "-"), "a stream is kafka://"),
        (("--from", "kafka://x", "--to", "-"), "is not a topic"),
        (("--from", "-", "--to", "-", "--guarantee", "exactly-once"), "at-least-once"),
    ],
)
def test_what_cannot_be_is_refused(flags: tuple[str, ...], said_then: str, pumps: Path) -> None:
    command = [sys.executable, "-c", RUN, "stream", str(pumps), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert said_then in done.stderr.splitlines()[-1]
