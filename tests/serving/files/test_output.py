"""Output files appear when they are complete."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from detector.errors import OutputError
from serving.files import output
from serving.files.output import STDOUT, AtomicFile, DirectOutput, open_output, output_errors, temporary_path


def test_a_file_appears_with_commit(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old")
    file = AtomicFile(target)
    file.file.write(b"new")
    file.flush()
    assert target.read_text() == "old"
    file.commit()
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_discarded_file_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old")
    file = AtomicFile(target)
    file.file.write(b"new")
    file.discard()
    file.discard()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_was_never_opened_is_discarded_too(tmp_path: Path) -> None:
    AtomicFile(tmp_path / "out.csv").discard()
    assert not list(tmp_path.iterdir())


def test_devices_and_pipes_are_written_directly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert isinstance(open_output(str(pipe)), DirectOutput)
    assert isinstance(open_output(STDOUT), DirectOutput)
    assert isinstance(open_output("/dev/null"), DirectOutput)
    assert isinstance(open_output(str(tmp_path / "new")), AtomicFile)
    assert temporary_path(pipe).parent != tmp_path
    assert temporary_path(tmp_path / "new").parent == tmp_path
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    written = open_output(str(pipe))
    written.file.write(b"rows")
    written.flush()
    written.commit()
    assert os.read(reader, 100) == b"rows"
    os.close(reader)
    assert pipe.exists()


def test_write_leaves_nothing_behind_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        output.write(str(tmp_path / "no" / "such" / "folder"), b"x")
    output.write(str(tmp_path / "out"), b"x")
    assert (tmp_path / "out").read_bytes() == b"x"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_errors_of_the_system_name_the_output() -> None:
    with pytest.raises(OutputError, match=r"cannot write out\.csv: No space left on device"), output_errors("out.csv"):
        raise OSError(28, "No space left on device")
    with pytest.raises(BrokenPipeError), output_errors("out.csv"):  # the reader has had enough
        raise BrokenPipeError


def test_outputs_are_checked_before_any_work(tmp_path: Path) -> None:
    existing = tmp_path / "existing.csv"
    existing.touch()
    with pytest.raises(OutputError, match="exists already; --force replaces it"):
        output.check(str(existing), [], force=False)
    output.check(str(existing), [], force=True)
    with pytest.raises(OutputError, match="one of the files to read"):
        output.check(str(existing), [str(tmp_path / "." / "existing.csv")], force=True)
    with pytest.raises(OutputError, match="is a folder"):
        output.check(str(tmp_path), [], force=True)
    with pytest.raises(OutputError, match="no folder"):
        output.check(str(tmp_path / "no" / "o.csv"), [], force=True)
    with pytest.raises(OutputError, match="name is empty"):
        output.check("", [], force=True)
    with pytest.raises(OutputError, match="File name too long"):
        output.check("x" * 300, [], force=True)
    output.check("-", ["-"], force=False)
