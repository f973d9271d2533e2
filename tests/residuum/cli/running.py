"""Helpers for tests of the command line: commands in processes of their own, error lines, edited files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import Result

RUN = "import sys; sys.argv[0] = 'residuum'; from residuum.cli import main; main()"
LIST_MODULES = f"import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); {RUN}"

TABLE_COLUMNS = ["temperature", "pressure", "flow", "bytes", "serial", "machine", "door_open", "at", "firmware", "slots"]

Run = Callable[..., Result]


def command(*arguments: object, code: str = RUN) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def in_a_process(*arguments: object, code: str = RUN, **options: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401 - subprocess's own
    environment = {**os.environ, "COLUMNS": "150", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(command(*arguments, code=code), env=environment, capture_output=True, text=True, check=False, **options)


def error_line(run: Run, *arguments: object) -> str:
    """Run a command that must fail with exit code 2 and one line on standard error, and write nothing; return that line."""
    before = sorted(Path().iterdir())
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert sorted(Path().iterdir()) == before
    return result.stderr


def edit_line(path: Path, line: int, change: Callable[[bytes], bytes]) -> None:
    """Change one line of a file, counted from 1."""
    lines = path.read_bytes().split(b"\n")
    lines[line - 1] = change(lines[line - 1])
    path.write_bytes(b"\n".join(lines))
