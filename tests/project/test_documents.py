"""What the documents name is there."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.documents import fenced_lines, words_of

# In pieces, so that this file does not name one itself.
ABSOLUTE = re.compile(rb"(?<![\w.~-])/(?:home|root|work|Users)/\w")


@functools.cache
def options_of(verb: str) -> set[str] | None:
    """Ask the command line which options a verb takes; None if it knows no such verb."""
    run = "import sys; from residuum.cli import main; sys.argv[0] = 'residuum'; main()"
    environment = {**os.environ, "COLUMNS": "250", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-c", run, *([verb] if verb else []), "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", done.stdout)) if done.returncode == 0 else None


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_command_is_one(name: str, project: Path) -> None:
    commands = [words[1:] for line in fenced_lines(project / name) if (words := words_of(line))[:1] == ["residuum"]]
    assert commands or name != "README.md"
    for command in commands:
        verb, *rest = command if command and not command[0].startswith("-") else ["", *command]
        known = options_of(verb)
        assert known is not None, f"{name} names the verb {verb!r}, which the command line does not know"
        used = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        assert used <= known, f"{name} gives `residuum {verb}` unknown options"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_is_one(name: str, project: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (project / "Makefile").read_text(), re.MULTILINE))
    # A line of a block, indented or fenced, or a span of code.
    named = set(re.findall(r"(?:^ *(?:\$ )?|`)make ([a-z]+)", (project / name).read_text(), re.MULTILINE))
    assert named
    assert named <= targets


def test_no_file_names_a_place_of_one_machine(project: Path) -> None:
    ours = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [path for name in ours.stdout.split("\0") if name and (path := project / name).is_file()]
    assert files
    assert [str(path.relative_to(project)) for path in files if ABSOLUTE.search(path.read_bytes())] == []
