"""The pin of a model: the file `pin` holds the version that the model's name means.

Promotion writes it, and rollback restores the version before. The pin is replaced by a rename, so a watcher never reads
half of it. Earlier versions are kept in `pin.before`, one number per line, the latest first; this history is written
first, so that every promotion can be rolled back.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import NamedTuple

from detector import bundle, repository
from detector.errors import BundleError, BundleMissing, OutputError, ResiduumError, SettingError

HISTORY = "pin.before"
MAX_HISTORY = 50


class PinChange(NamedTuple):
    """The version that the name means now, and the one before; None if there was none."""

    version: int
    previous: int | None


def promote(path: Path, version: int) -> PinChange:
    """Pin a version of the model at `path`, after verifying its bundle.

    Raises:
        BundleError: there is no such version, or it is not valid.
        OutputError: the pin cannot be written.
    """
    folder = repository.model_folder(path)
    require_version(folder, version)
    previous = current_version(folder)
    newest = [] if previous is None or previous == version else [previous]
    return _change(folder, version, previous, [*newest, *_history(folder)])


def rollback(path: Path) -> PinChange:
    """Pin the version that the name meant before its last promotion or, without a history, the next lower version.

    Raises:
        SettingError: there is no valid version to return to.
        OutputError: the pin cannot be written.
    """
    folder = repository.model_folder(path)
    versions, current = repository.versions(folder), current_version(folder)
    history = [version for version in _history(folder) if version in versions]
    history = history[history[:1] == [current] :]  # left by a promotion that wrote the history but not the pin
    lower = [version for version in reversed(versions) if current is not None and version < current]
    for version in [*history, *lower]:
        with contextlib.suppress(BundleError):
            return _change(folder, version, current, history[history.index(version) + 1 :] if version in history else [])
    raise SettingError(f"{folder} has no version to go back to from {current}; it has {versions}")


def require_version(folder: Path, version: int) -> None:
    """Raise unless the model has this version.

    Raises:
        BundleMissing: it does not.
    """
    if version not in repository.versions(folder):
        raise BundleMissing(f"{folder} has no version {version}; it has {repository.versions(folder)}")


def current_version(folder: Path) -> int | None:
    """Return the version that the model's name means; None if there is none."""
    try:
        return int(repository.find(folder).name)
    except (ResiduumError, ValueError):
        return None


def _change(folder: Path, version: int, previous: int | None, history: list[int]) -> PinChange:
    """Verify a version, then write history and pin."""
    bundle.read(folder / str(version))
    try:
        _write(folder / HISTORY, "".join(f"{number}\n" for number in history[:MAX_HISTORY]))
        _write(folder / repository.PIN, f"{version}\n")
    except OSError as error:
        raise OutputError(f"cannot write {folder / repository.PIN}: {error.strerror}") from error
    return PinChange(version, previous)


def _history(folder: Path) -> list[int]:
    """Read the versions that were pinned before, the latest first."""
    with contextlib.suppress(OSError):
        lines = (folder / HISTORY).read_text(errors="replace").split()
        return [int(line) for line in lines if line.isascii() and line.isdigit()]
    return []


def _write(path: Path, text: str) -> None:
    """Write a file atomically."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        temporary = Path(file.name)
    try:
        temporary.write_text(text)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
