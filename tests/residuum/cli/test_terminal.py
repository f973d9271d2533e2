"""What shells and terminals see: completion, narrow terminals."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.residuum.cli.running import RUN, Run


def completed(words: str, shell: str = "bash") -> list[str]:
    """Return what a shell offers for the last word of a line."""
    environment = {**os.environ, "_RESIDUUM_COMPLETE": f"complete_{shell}", "COMP_WORDS": words}
    environment |= {"COMP_CWORD": str(len(words.split(" ")) - 1), "_TYPER_COMPLETE_ARGS": words}
    done = subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, check=False)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("residuum sc", {"score"}),
        ("residuum score --fail", {"--fail-on-anomalies"}),
        ("residuum train --variant spa", {"sparse"}),
        ("residuum variants me", {"memory"}),
        ("residuum score --reasons ", {"anomalies", "all", "none"}),
    ],
    ids=["command", "option", "variant", "argument", "value"],
)
def test_shells_complete_the_command_line(words: str, expected: set[str]) -> None:
    assert set(completed(words)) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(shell: str) -> None:
    environment = {**os.environ, "_RESIDUUM_COMPLETE": f"source_{shell}"}
    done = subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, check=False)
    assert "_RESIDUUM_COMPLETE=complete_" in done.stdout


@pytest.mark.parametrize("width", [24, 40, 80, 120])
@pytest.mark.parametrize("command", ["variants", "variants sparse", "inspect MODEL"])
def test_tables_are_readable_at_any_width(
    command: str, width: int, run: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = command.replace("MODEL", str(model)).split()
    wide = run(*words).stdout
    monkeypatch.setenv("COLUMNS", str(width))
    text = run(*words).stdout
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(len(line) for line in lines if "residuum" not in line) <= width  # a command is one line, to be copied
    if width >= 40:
        assert "…" not in text
        words_of = re.compile(r"\b[a-z]{3,15}\b")
        assert set(words_of.findall(wide.lower())) <= set(words_of.findall(text.lower())), "a word is broken"


@pytest.mark.parametrize("width", [30, 80])
def test_a_summary_on_a_terminal_breaks_between_words(width: int, model: Path, table: Path, tmp_path: Path) -> None:
    terminal, output = pty.openpty()
    arguments = ["score", model, table, "--to", tmp_path / "out.csv"]
    environment = {**os.environ, "COLUMNS": str(width), "TERM": "dumb"}
    subprocess.run([sys.executable, "-c", RUN, *map(str, arguments)], env=environment, stdout=output, check=True)
    os.close(output)
    lines = os.read(terminal, 10_000).decode().splitlines()
    os.close(terminal)
    assert max(len(line) for line in lines if "/" not in line) <= width
    assert any(line.startswith(" " * (11 if width == 80 else 2)) for line in lines)
    assert "promised: at most 1 % of normal rows" in " ".join(" ".join(lines).split())


@pytest.mark.parametrize("command", [[], ["score"], ["train"], ["serve"]], ids=["residuum", "score", "train", "serve"])
def test_help_on_a_narrow_terminal_is_lines(command: list[str], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = run(*command, "--help").stdout
    assert max(map(len, text.splitlines())) <= 60  # names are not broken
    assert "…" not in text
    assert "│" not in text
