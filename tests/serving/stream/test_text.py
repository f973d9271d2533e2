"""Lines in, lines out: pipes, files of verdicts, full disks."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from detector.errors import OutputError, StreamError
from detector.rejects import Reject
from serving.stream import text
from serving.stream.base import DeadLetter, Origin, RecordVerdict, ScoredRecords
from serving.stream.text import AppendFile, LineBuffer, LineSink, StdinSource
from tests.serving.stream.conftest import RUN, StartProcess, check, lines_of, row_of, rows, values
from tests.serving.stream.fakes import batch_of

FRAME = rows(200)
LINES = [value + b"\n" for value in values(FRAME)]


def test_a_pipe_is_scored_line_by_line_and_to_its_end(start_process: StartProcess, pumps: Path) -> None:
    """A verdict comes before the next line is sent; the last line needs no end."""
    worker = start_process("--from", "-", "--to", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pipe = worker.process
    assert pipe.stdin
    assert pipe.stdout
    verdicts = []
    for start, line in ((b"\xef\xbb\xbf", LINES[0]), (b"", LINES[1])):
        pipe.stdin.write(start + line)
        pipe.stdin.flush()
        verdicts.append(pipe.stdout.readline())
    rest, _ = pipe.communicate(b"".join(LINES[2:]) + b'\n{"temperature": "hot"}\n\xff\n' + LINES[0].rstrip(), timeout=60)
    assert pipe.returncode == 0, worker.log
    found = [json.loads(line) for line in (*verdicts, *rest.splitlines())]
    assert [row_of(line) for line in found] == [*range(1, 201), 202, 203, 204]
    check([line for line in found if "rejected" not in line][:200], FRAME, pumps)
    assert found[200]["rejected"]["reason"] == "wrong type"
    assert found[200]["value"] == '{"temperature": "hot"}'
    assert found[201]["value_base64"] == "/w=="


def test_stdin_waits_for_more_lines_no_longer_than_its_linger_time() -> None:
    reader, writer = os.pipe()
    source = StdinSource(0.05, reader)
    try:
        assert not len(source.poll() or ())
        os.write(writer, b"first\nsec")
        batch = source.poll()
        assert batch is not None
        assert list(batch.values) == [b"first"]
        source.rewind(batch)
        assert source.poll() is batch
        os.write(writer, b"ond\nthird")
        os.close(writer)
        batch = source.poll()
        assert batch is not None
        assert list(batch.values) == [b"second", b"third"]
        assert batch.origins([1]) == [Origin("", -1, -1, "-", 3)]
        assert source.poll() is None
    finally:
        os.close(reader)


def test_a_line_without_end_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MAX_RECORD_BYTES", 100)
    buffer = LineBuffer("readings.ndjson", 7)
    buffer.add(b"x" * 101)
    with pytest.raises(StreamError, match=r"readings.ndjson, line 7 does not end within"):
        buffer.take_batch()


@pytest.fixture
def scored() -> ScoredRecords:
    """A verdict, a dead letter, a verdict."""
    verdicts = [RecordVerdict(1.5, 0.5, False, "pumps", 1, Origin(file="-", row=row)) for row in (1, 3)]  # noqa: FBT003
    return ScoredRecords(batch_of([b"1", b"2", b"3"]), verdicts, [0, 2], [DeadLetter(1, "not JSON", Reject(2, "", "2", "{}"))])


def test_dead_letters_are_in_the_order_of_records_or_in_a_file_of_their_own(scored: ScoredRecords, tmp_path: Path) -> None:
    one, verdicts, dead_letters = (tmp_path / name for name in ("one", "verdicts", "dead-letters"))
    for sink in (LineSink(str(one), str(one)), LineSink(str(verdicts), str(dead_letters))):
        with contextlib.closing(sink):
            sink.add(scored)
            sink.flush()
    assert [row_of(line) for line in lines_of(one)] == [1, 2, 3]
    assert [row_of(line) for line in lines_of(verdicts)] == [1, 3]
    assert [row_of(line) for line in lines_of(dead_letters)] == [2]


def test_opening_a_file_removes_an_unfinished_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MAX_RECORD_BYTES", 10)
    path = tmp_path / "verdicts"
    for before, after in ((b"", b""), (b"a\nb\n", b"a\nb\n"), (b"a\nbc", b"a\n"), (b"abc", b"")):
        path.write_bytes(before)
        AppendFile(str(path)).close()
        assert path.read_bytes() == after
    path.write_bytes(b"x" * 11)
    with pytest.raises(OutputError, match="not a file of verdicts"):
        AppendFile(str(path))
    assert path.stat().st_size == 11


def test_an_output_that_is_rotated_is_opened_anew(tmp_path: Path) -> None:
    path, old = tmp_path / "verdicts", tmp_path / "verdicts.1"
    with contextlib.closing(AppendFile(str(path))) as file:
        file.write(b"a\n")
        path.rename(old)
        file.write(b"b\n")
        path.unlink()
        file.write(b"c\n")
        file.flush()
        os.truncate(path, 0)  # as copytruncate does
        file.write(b"d\n")
    assert (old.read_bytes(), path.read_bytes()) == (b"a\n", b"d\n")


def test_a_full_disk_stops_the_worker_with_one_line(pumps: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "readings.ndjson", tmp_path / "out"
    path.write_bytes(b"".join(LINES))
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4000, {resource.RLIM_INFINITY})); "
    command = [sys.executable, "-c", limit + RUN, "stream", pumps, "--from", path, "--to", out]
    full = subprocess.run([*map(str, command)], capture_output=True, check=False, timeout=60, text=True)
    assert full.returncode == 2
    assert "error: cannot write" in full.stderr.splitlines()[-1]
    AppendFile(str(out)).close()
    assert out.read_bytes().endswith(b"}\n")
