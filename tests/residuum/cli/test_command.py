"""What all commands share: --debug, error messages, exit codes, cleaning up."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from detector.files import blocks
from detector.scorer import Scorer
from tests.residuum.cli.running import RUN, Run, command, in_a_process


@pytest.mark.parametrize("position", [0, 1, 3])
def test_debug_shows_the_traceback_before_and_after_the_command(position: int, run: Run) -> None:
    arguments = ["inspect", "nowhere", "--format", "text"]
    assert "Traceback" not in run(*arguments).output
    result = run(*arguments[:position], "--debug", *arguments[position:]) if position != 3 else run(*arguments, "--debug")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: nowhere does not exist")
    assert "Traceback" not in run(*arguments).output


def test_an_unexpected_exception_is_reported_as_a_bug(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no idea")

    monkeypatch.setattr(Scorer, "open", broken)
    Path("in.csv").write_text("a\n1\n")
    result = run("score", model, "in.csv", "--to", "out.csv")
    assert result.exit_code == 1
    assert result.stderr == "error: RuntimeError: no idea (this is a bug in residuum: --debug shows the traceback)\n"


@pytest.mark.parametrize(
    ("name", "number", "code"),
    [
        pytest.param("out.csv", signal.SIGINT, 130, id="ctrl-c"),
        pytest.param("out.parquet", signal.SIGTERM, 143, id="terminate"),
        pytest.param("out.csv", signal.SIGHUP, 129, id="hang up"),
        pytest.param("out.parquet", signal.SIGINT, 130, id="ctrl-c, parquet", marks=pytest.mark.long),
        pytest.param("out.csv", signal.SIGTERM, 143, id="terminate, csv", marks=pytest.mark.long),
        pytest.param("out.parquet", signal.SIGHUP, 129, id="hang up, parquet", marks=pytest.mark.long),
    ],
)
def test_an_interrupted_run_leaves_no_file(name: str, number: int, code: int, model: Path, table: Path) -> None:
    folder = table.parent / "out"
    folder.mkdir()
    arguments = command("score", model, "-", "--to", folder / name)
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(repeat_rows(table, blocks.BLOCK_BYTES))
        process.stdin.flush()  # it scores one block and waits for the next
        wait_for(lambda: any(folder.iterdir()))
        process.send_signal(number)
        message = process.communicate(timeout=60)[1]
        assert process.returncode == code
    assert list(folder.iterdir()) == []
    assert "Traceback" not in message
    assert ("interrupted: nothing was written" in message) == (code == 130)


@pytest.mark.parametrize("name", ["out.csv", pytest.param("out.parquet", marks=pytest.mark.long)])
def test_a_failed_write_leaves_no_file(name: str, model: Path, table: Path) -> None:
    folder = table.parent / "out"
    folder.mkdir()
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); {RUN}"
    done = in_a_process("score", model, table, "--to", folder / name, "--reasons", "all", code=code)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: cannot write {folder / name}")
    assert "File too large" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(folder.iterdir()) == []


def test_a_closed_pipe_prints_no_error(model: Path, table: Path) -> None:
    (table.parent / "long.csv").write_text(repeat_rows(table, 2 * blocks.BLOCK_BYTES))
    arguments = command("score", model, table.parent / "long.csv", "--to", "-")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().startswith("row,anomaly_score")
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 141


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("inspect", "MODEL", "--format", "json"),
        ("stream", "MODEL", "--from", "-", "--to", "-", "--log", "json"),
        pytest.param(("inspect", "MODEL"), marks=pytest.mark.long),
        pytest.param(("embed", "MODEL", "TABLE", "--to", "-"), marks=pytest.mark.long),
        pytest.param(("--version",), marks=pytest.mark.long),
        pytest.param(("variants",), marks=pytest.mark.long),
        pytest.param(("score", "--help"), marks=pytest.mark.long),
        pytest.param(("score", "MODEL", "TABLE", "--to", "-"), marks=pytest.mark.long),
        pytest.param(("score", "MODEL", "TABLE", "--to", "out.csv"), marks=pytest.mark.long),
        pytest.param(("reconstruct", "MODEL", "TABLE", "--to", "-"), marks=pytest.mark.long),
    ],
    ids=" ".join,
)
def test_a_reader_that_is_gone_ends_a_command_with_141(arguments: tuple[str, ...], model: Path, table: Path) -> None:
    if arguments[0] == "stream":
        pl.read_csv(table).write_ndjson(table)
    names = {"MODEL": str(model), "TABLE": str(table)}
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command(*(names.get(word, word) for word in arguments)),
        cwd=table.parent,
        input=table.read_text(),
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 141
    assert "error:" not in done.stderr
    assert arguments[0] == "stream" or not done.stderr


@pytest.mark.parametrize("arguments", [("inspect", "MODEL"), ("--help",), pytest.param(("variants",), marks=pytest.mark.long)])
def test_a_full_disk_behind_standard_output_is_one_line(arguments: tuple[str, ...], model: Path) -> None:
    with Path("/dev/full").open("w") as full:
        words = [str(model) if word == "MODEL" else word for word in arguments]
        done = subprocess.run(command(*words), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: cannot write standard output: No space left on device\n"


def repeat_rows(table: Path, size: int) -> str:
    """Return the text of a table with its rows repeated until it has `size` characters."""
    header, *lines = table.read_text().splitlines(keepends=True)
    body = "".join(lines)
    return header + body * (size // len(body) + 2)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
