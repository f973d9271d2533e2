"""The paths that a user wrote, with patterns expanded."""

from __future__ import annotations

import difflib
import glob
import os
from collections.abc import Sequence
from pathlib import Path

from detector.errors import TableError

STDIN = "-"


def expand(paths: Sequence[str]) -> list[str]:
    """Expand patterns and keep the order of the paths; a file that is listed twice is read once.

    Raises:
        TableError: a file does not exist, or a pattern matches no file.
    """
    found: dict[str, str] = {}
    for path in paths:
        for name in matches(path):
            found.setdefault(identity(name), name)
    return list(found.values())


def matches(path: str) -> list[str]:
    """Return the files that a path or pattern matches."""
    if path == STDIN or os.path.lexists(path):
        return [path]
    names = sorted(name for name in glob.glob(path, recursive=True) if not Path(name).is_dir())  # noqa: PTH207 - keeps the user's spelling
    if not names:
        raise TableError(missing_file_message(path))
    return names


def identity(path: str) -> str:
    """Return a name that is the same for all spellings of a path."""
    return path if path == STDIN else os.path.realpath(path)


def missing_file_message(path: str) -> str:
    """Return the message for a file that does not exist, with similar names."""
    verb = "matches no file" if glob.has_magic(path) else "does not exist"
    return f"{path} {verb}; {surroundings(Path(path))}"


def surroundings(path: Path) -> str:
    """Describe the files beside a path that does not exist."""
    folder = path.parent
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except (OSError, ValueError):
        return f"nor does the folder {folder}"
    similar = difflib.get_close_matches(path.name, names, cutoff=0.5)
    return (
        "similar: " + ", ".join(str(folder / name) for name in similar) if similar else f"no file in {folder} has a similar name"
    )
