"""Which version a name means: promoted by writing its `pin`, rolled back to what was meant before.

The pin appears whole, by a rename, so whoever watches it never reads half of one. What it meant before stands beside it in
`pin.before`, one number a line, the latest first; that is written first, so that no promotion is ever without a way back.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import NamedTuple

from detector import bundle, repository
from detector.errors import BundleError, BundleMissing, OutputError, ResiduumError, SettingError

BEFORE = "pin.before"
MAX_HISTORY = 50


class PinChange(NamedTuple):
    """Which version is meant now, and which was before; None: none that is there."""

    version: int
    previous: int | None


def promote(path: Path, version: int) -> PinChange:
    """Make a name mean one of its versions, which is verified first.

    Raises:
        BundleError: there is no such version, or it cannot be trusted.
        OutputError: the pin cannot be written.
    """
    folder = repository.model_folder(path)
    require_version(folder, version)
    was = current_version(folder)
    known = [] if was is None or was == version else [was]
    return _move(folder, version, was, [*known, *_before(folder)])


def rollback(path: Path) -> PinChange:
    """Make a name mean what it meant before its last promotion, or, if none is known, the next lower version.

    Raises:
        SettingError: there is no such version that can be trusted.
        OutputError: the pin cannot be written.
    """
    folder = repository.model_folder(path)
    there, was = repository.versions(folder), current_version(folder)
    before = [each for each in _before(folder) if each in there]
    before = before[before[:1] == [was] :]  # of a promotion that wrote the history and not the pin
    lower = [each for each in reversed(there) if was is not None and each < was]
    for version in [*before, *lower]:
        with contextlib.suppress(BundleError):
            return _move(folder, version, was, before[before.index(version) + 1 :] if version in before else [])
    raise SettingError(f"{folder} has no version to go back to from {was}; it has {there}")


def require_version(folder: Path, version: int) -> None:
    """Refuse a version that a name does not have.

    Raises:
        BundleMissing: it has not.
    """
    if version not in repository.versions(folder):
        raise BundleMissing(f"{folder} has no version {version}; it has {repository.versions(folder)}")


def current_version(folder: Path) -> int | None:
    """Give the version that a name's folder means, if it is there."""
    try:
        return int(repository.find(folder).name)
    except (ResiduumError, ValueError):
        return None


def _move(folder: Path, version: int, was: int | None, before: list[int]) -> PinChange:
    """Verify a version, then write history and pin."""
    bundle.read(folder / str(version))
    try:
        _write(folder / BEFORE, "".join(f"{each}\n" for each in before[:MAX_HISTORY]))
        _write(folder / repository.PIN, f"{version}\n")
    except OSError as error:
        raise OutputError(f"cannot write {folder / repository.PIN}: {error.strerror}") from error
    return PinChange(version, was)


def _before(folder: Path) -> list[int]:
    """Read which versions were meant before, the latest first."""
    with contextlib.suppress(OSError):
        lines = (folder / BEFORE).read_text(errors="replace").split()
        return [int(line) for line in lines if line.isascii() and line.isdigit()]
    return []


def _write(path: Path, text: str) -> None:
    """Write a file that appears whole."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        work = Path(file.name)
    try:
        work.write_text(text)
        work.chmod(0o644)
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)
