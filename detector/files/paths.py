"""The paths a user wrote, patterns expanded."""

from __future__ import annotations

import difflib
import glob
import os
from collections.abc import Sequence
from pathlib import Path

from detector.errors import TableError

STDIN = "-"


def expand(paths: Sequence[str]) -> list[str]:
    """Expand patterns, in the order they were given; a file that is named twice is read once.

    Raises:
        TableError: a file is not there, or a pattern matches none.
    """
    found: dict[str, str] = {}
    for path in paths:
        for name in matches(path):
            found.setdefault(identity(name), name)
    return list(found.values())


def matches(path: str) -> list[str]:
    """Give the files that one path or pattern stands for."""
    if path == STDIN or os.path.lexists(path):
        return [path]
    names = sorted(name for name in glob.glob(path, recursive=True) if not Path(name).is_dir())  # noqa: PTH207 - keeps the user's spelling
    if not names:
        raise TableError(missing_file_message(path))
    return names


def identity(path: str) -> str:
    """Give what all spellings of one file share."""
    return path if path == STDIN else os.path.realpath(path)


def missing_file_message(path: str) -> str:
    """Say that a file is missing, and what is near."""
    verb = "matches no file" if glob.has_magic(path) else "is not there"
    return f"{path} {verb}; {surroundings(Path(path))}"


def surroundings(path: Path) -> str:
    """Say what stands where a file was looked for."""
    folder = path.parent
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except (OSError, ValueError):
        return f"nor is the folder {folder}"
    near = difflib.get_close_matches(path.name, names, cutoff=0.5)
    return "near it: " + ", ".join(str(folder / name) for name in near) if near else f"nothing in {folder} is like it"
