"""Rotated files: each line is returned once, whatever rotation, compression and restarts do, or is counted as lost."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.errors import StreamError
from serving.log import configure_logging
from serving.stream.tail import TailSource
from tests.serving.stream.conftest import SEED, TORTURE
from tests.serving.stream.rotated import ZSTD, RotatedLog, compress

SEQUENCES = range(SEED, SEED + (300 if TORTURE else 8))
STEPS = 40


def numbered(number: int) -> bytes:
    """Return a numbered line."""
    return b'{"number":%d,"text":"%s"}\n' % (number, b"x" * (number % 97))


class Losses:
    """Counts what a source could not read."""

    def __init__(self) -> None:
        self.ranges: list[int] = []

    def lost(self, file: str, size: int) -> None:
        assert file.endswith("readings.ndjson")
        self.ranges.append(size)


class Reader:
    """A source that is polled, committed, killed and opened again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.losses = Losses()
        self.lines: list[bytes] = []  # of committed batches
        self._open()

    def _open(self) -> None:
        state = self._path.with_name("state")
        self.source = TailSource(self._path, state, linger=0.0, rotation_idle=0.02, observer=self.losses)

    def poll(self) -> int:
        """Poll and commit once; return the number of lines."""
        batch = self.source.poll()
        assert batch is not None
        if len(batch):
            self.source.commit(batch, ())
            self.lines += batch.values
        return len(batch)

    def poll_until(self, count: int) -> None:
        """Poll until there are so many lines, and a few times more."""
        began = time.monotonic()
        while len(self.lines) < count and time.monotonic() - began < 20:
            self.poll() or time.sleep(0.001)
        for _ in range(3):
            self.poll()

    @property
    def numbers(self) -> list[int]:
        """The numbers of the lines."""
        return [int(line.split(b",")[0].removeprefix(b'{"number":')) for line in self.lines if line]

    def kill(self, *, has_polled: bool) -> None:
        """Start again from what is committed."""
        if has_polled:
            self.source.poll()  # and never commit
        self.source.close()
        self._open()


@pytest.mark.parametrize("seed", SEQUENCES)
def test_every_line_is_returned_once_through_random_rotations(seed: int, tmp_path: Path) -> None:
    chance, path = random.Random(seed), tmp_path / "readings.ndjson"  # noqa: S311 - no secret
    suffix = ".zst" if ZSTD and chance.random() < 0.5 else ".gz"
    log = RotatedLog(path, numbered, is_delayed=chance.choice([None, False, True]), suffix=suffix)
    reader = Reader(path)
    steps = []
    for _ in range(STEPS):
        step = chance.choice(
            ["write"] * 6 + ["part", "reopen", "reopen", "poll", "poll", "poll", "kill", "rotate", "rotate", "copy"]
        )
        steps.append(step)
        match step:
            case "write":
                log.write(chance.choice([1, 3, 30, 300]))
            case "part":
                log.write_part()
            case "reopen":
                log.reopen()
            case "poll":
                for _ in range(chance.randrange(6)):
                    reader.poll()
            case "kill":
                reader.kill(has_polled=chance.random() < 0.5)
            case "rotate":
                log.rotate()
            case _:
                log.rotate(is_copied=True)
    log.reopen()
    log.write(1)
    with contextlib.closing(log), contextlib.closing(reader.source):
        reader.poll_until(log.count)
    assert reader.numbers == list(range(log.count)), steps
    assert not reader.losses.ranges


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The tailed file, with two lines."""
    path = tmp_path / "readings.ndjson"
    path.write_bytes(lines(0, 2))
    return path


def lines(first: int, last: int) -> bytes:
    """Return the numbered lines from one number to before another."""
    return b"".join(numbered(number) for number in range(first, last))


@contextlib.contextmanager
def opened(path: Path, first: int) -> Iterator[Reader]:
    """Yield a reader that has returned this many lines."""
    reader = Reader(path)
    try:
        reader.poll_until(first)
        yield reader
    finally:
        reader.source.close()


def rotate(path: Path, name: str, first: int, last: int) -> None:
    """Rename the file, and write lines to a new one."""
    path.rename(path.with_name(name))
    path.write_bytes(lines(first, last))


@pytest.mark.parametrize(
    ("second", "third"),
    [
        ("readings.ndjson.2", "readings.ndjson.1"),
        ("readings.ndjson.10", "readings.ndjson.9"),
        ("readings.ndjson-20261128", "readings.ndjson-20261129"),
        ("readings.ndjson-20261128-1795859200", "readings.ndjson-20261128-1795859300"),
        ("readings.ndjson.2026-11-28_09", "readings.ndjson.2026-11-28_10"),
        ("readings.2.ndjson", "readings.1.ndjson"),
        ("readings-20261128.ndjson", "readings-20261129.ndjson"),
        ("readings.ndjson-1795859200", "readings.ndjson-1795859300"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_two_rotations_while_nothing_is_read(path: Path, second: str, third: str, suffix: str) -> None:
    """The names are found in their order, whatever the times of compressed files are."""
    unrelated = path.with_name("readings-2.ndjson")
    with opened(path, 2) as reader:
        reader.source.close()
        with path.open("ab") as file:
            file.write(lines(2, 5))
        rotate(path, second, 5, 8)
        rotate(path, third, 8, 9)
        unrelated.write_bytes(lines(100, 101))
        if suffix:
            compress(path.with_name(third), suffix)
            compress(path.with_name(second), suffix)
            os.utime(path.with_name(second + suffix))
        reader.kill(has_polled=False)
        reader.poll_until(9)
        assert reader.numbers == list(range(9))
        assert not reader.losses.ranges


def test_the_last_line_of_a_rotated_file_needs_no_end(path: Path) -> None:
    with opened(path, 2) as reader:
        with path.open("ab") as file:
            file.write(lines(2, 3)[:-1])
        reader.poll()
        assert len(reader.lines) == 2
        rotate(path, "readings.ndjson.1", 3, 4)
        reader.poll_until(4)
        assert reader.numbers == [0, 1, 2, 3]


def test_a_file_that_was_deleted_is_counted(path: Path) -> None:
    with opened(path, 2) as reader:
        reader.source.close()
        path.unlink()
        path.write_bytes(lines(50, 51))
        reader.kill(has_polled=False)
        reader.poll_until(3)
        assert reader.numbers == [0, 1, 50]
        assert reader.losses.ranges == [0]


def test_an_inode_that_is_used_again_is_another_file(path: Path) -> None:
    """The file system gives the inode of the deleted file to the new one; the lines are in a compressed copy."""
    with opened(path, 2) as reader:
        reader.source.close()
        with path.open("ab") as file:
            file.write(lines(2, 4))
        data = path.read_bytes()
        path.write_bytes(lines(4, 5) + b"\n" * len(data))  # the same inode, longer than the position
        path.with_name("readings.ndjson.1.gz").write_bytes(gzip.compress(data))
        reader.kill(has_polled=False)
        reader.poll_until(5)
        assert reader.numbers[:5] == [0, 1, 2, 3, 4]
        assert not reader.losses.ranges


def test_truncation_without_a_copy_is_counted_and_the_advice_is_given_once(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("json")
    with opened(path, 2) as reader:
        for _ in range(2):
            with path.open("ab") as file:
                file.write(b'{"number"')
            reader.poll()
            path.write_bytes(lines(7, 8))
            reader.poll_until(len(reader.lines) + 1)
        assert reader.numbers == [0, 1, 7, 7]
        assert reader.losses.ranges == [9, 9]
    log = capsys.readouterr().err
    assert log.count('"file is rotated by copytruncate"') == 1
    start = len(lines(0, 2))
    events = [json.loads(line) for line in log.splitlines()]
    lost = next(event for event in events if event["event"] == "lines of a file were lost")
    assert (lost["file"], lost["start"], lost["end"]) == (str(path), start, start + 9)


def test_a_writer_that_does_not_append_leaves_a_hole(path: Path) -> None:
    with path.open("r+b", buffering=0) as file, opened(path, 2) as reader:
        file.seek(0, os.SEEK_END)
        file.write(lines(2, 900))
        reader.poll_until(900)
        shutil.copyfile(path, path.with_name("readings.ndjson.1"))
        os.truncate(path, 0)
        file.write(lines(900, 901))
        reader.poll_until(901)
        assert reader.numbers == list(range(901))
        assert not reader.losses.ranges


def test_lines_that_come_after_the_file_was_left_are_counted(path: Path) -> None:
    with path.open("ab", buffering=0) as late, opened(path, 2) as reader:
        rotate(path, "readings.ndjson.1", 2, 3)
        reader.poll_until(3)
        late.write(lines(50, 51))
        for _ in range(3):
            reader.poll()
        assert reader.numbers == [0, 1, 2]
        assert reader.losses.ranges == [len(lines(50, 51))]


def test_files_that_cannot_be_decompressed_are_counted(path: Path) -> None:
    with opened(path, 2) as reader:
        rotate(path, "readings.ndjson.3", 3, 4)
        reader.source.close()
        rotate(path, "readings.ndjson.2.xz", 4, 5)
        rotate(path, "readings.ndjson.1.gz", 5, 6)
        time.sleep(0.03)
        reader.kill(has_polled=False)
        reader.poll_until(3)
        assert reader.numbers == [0, 1, 5]
        assert reader.losses.ranges == [0, 0]


def test_a_copy_that_replaces_the_file_is_read_on(path: Path) -> None:
    """A program such as rsync writes a longer copy and renames it."""
    with opened(path, 2) as reader:
        copy = path.with_name(".readings.tmp")
        copy.write_bytes(lines(0, 4))
        copy.replace(path)
        reader.poll_until(4)
        assert reader.numbers == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["readings.ndjson.gz", "readings.ndjson.zst"])
def test_a_compressed_file_is_not_tailed(tmp_path: Path, name: str) -> None:
    with pytest.raises(StreamError, match="is compressed"):
        TailSource(tmp_path / name, tmp_path / "state", 0.0)


def test_a_pipe_is_not_tailed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StreamError, match="not a regular file"):
        TailSource(tmp_path / "pipe", tmp_path / "state", 0.0)
