"""Where bundles live: `models/pumps/1`, `models/pumps/2`, and a file `pin` that may hold one of these numbers.

A version never changes. What every verb takes is a name's folder (its pinned version, else its highest) or the folder
of one version; what a verb writes is the next version, under a temporary name until it is whole. `detector.pin` moves the pin.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from detector import bundle
from detector.columns import suggest_names
from detector.errors import BundleCorrupt, BundleMissing, OutputError

PIN = "pin"


def find(path: Path) -> Path:
    """Give the folder of the version that `path` means.

    Raises:
        BundleMissing: there is none, or it may not be read.
        BundleCorrupt: the pin names a version that is not there.
    """
    try:
        return _found(path)
    except OSError as error:
        raise BundleMissing(f"{path} cannot be read: {error.strerror}") from error


def _found(path: Path) -> Path:
    """Give the folder of the version that `path` means."""
    if (path / bundle.MANIFEST).is_file():
        return path
    pinned = _pinned(path)
    if pinned is not None:
        return pinned
    numbers = versions(path)
    if numbers:
        return path / str(numbers[-1])
    raise BundleMissing(_nothing_at(path))


def candidates(path: Path) -> list[Path]:
    """Give the folders of the versions that `path` may mean, the wanted one first: one that is pinned has no substitute.

    Raises:
        BundleMissing: there is none, or it may not be read.
        BundleCorrupt: the pin names a version that is not there.
    """
    wanted = find(path)
    if wanted == path or (path / PIN).is_file():
        return [wanted]
    return [path / str(number) for number in reversed(versions(path))]


def versions(path: Path) -> list[int]:
    """Give the numbers of all versions under a name, ascending."""
    if not path.is_dir():
        return []
    return sorted(int(each.name) for each in path.iterdir() if _is_version(each))


def model_folder(path: Path) -> Path:
    """Give the name's folder, whether `path` is it or one of its versions."""
    path = path.absolute()
    return path.parent if _is_version(path) else path


def check_writable(path: Path) -> None:
    """Refuse a name under which no version can be written, before any work is done for one.

    Raises:
        OutputError: it leads through a file, or into a folder that may not be written, or holds files of a version.
    """
    try:
        folder = model_folder(path)
        _check_unnumbered(folder)
        there = next(each for each in (folder, *folder.parents) if each.exists())
    except OSError as error:
        raise OutputError(f"cannot write to {path}: {error.strerror}") from error
    if not there.is_dir():
        raise OutputError(f"cannot write to {path}: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write to {path}: {there} may not be written")


@contextlib.contextmanager
def next_version(path: Path) -> Iterator[tuple[int, Path]]:
    """Lend a temporary folder that becomes the next version under the name `path` when the block ends well.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        folder = model_folder(path)
        made = not folder.exists()
        _check_unnumbered(folder)
        folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
        reserved = _reserve(folder)
    except OSError as error:
        raise OutputError(f"cannot write to {path}: {error.strerror}") from error
    try:
        yield int(reserved.name), work
        work.chmod(0o755)
        work.replace(reserved)
    except OSError as error:
        raise OutputError(f"cannot write {reserved}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        for left_empty in [reserved, folder] if made else [reserved]:
            with contextlib.suppress(OSError):  # it is not empty: there is a version
                left_empty.rmdir()


def _check_unnumbered(folder: Path) -> None:
    """Refuse a name's folder that is itself a version."""
    if (folder / bundle.MANIFEST).is_file():
        raise OutputError(f"{folder} is a bundle without a number: move its files to {folder / '1'}, so that a next can be")


def _reserve(folder: Path) -> Path:
    """Make an empty folder for the next number, which nobody else who writes here at the same time gets."""
    for number in itertools.count(max(versions(folder), default=0) + 1):
        with contextlib.suppress(FileExistsError):
            (folder / str(number)).mkdir()
            break
    return folder / str(number)


def _is_version(path: Path) -> bool:
    """Tell whether a folder is one version's."""
    return re.fullmatch(r"[1-9][0-9]{0,17}", path.name) is not None and (path / bundle.MANIFEST).is_file()


def _pinned(path: Path) -> Path | None:
    """Give the folder of the pinned version, if one is pinned."""
    pin = path / PIN
    if not pin.is_file():
        return None
    number = pin.read_text(errors="replace").strip()[:20]
    if not (number.isascii() and number.isdigit() and _is_version(path / number)):
        raise BundleCorrupt(f"{pin} names version {number!r}; there are {versions(path)}")
    return path / number


def _near(path: Path) -> str:
    """Name the versions, or the names like this one, that stand where there is nothing."""
    beside = path.absolute().parent
    if there := versions(beside):
        return f" ({beside.name} has the versions {', '.join(map(str, there))})"
    return suggest_names([path.name], [each.name for each in beside.iterdir() if versions(each)]) if beside.is_dir() else ""


def _nothing_at(path: Path) -> str:
    """Say that there is no bundle, and what is near."""
    if not path.exists():
        return f"{path} does not exist{_near(path)}; `residuum train` writes a bundle there with --to {path}"
    held = [each.name for each in sorted(path.iterdir()) if versions(each)] if path.is_dir() else []
    hint = f"; it holds the names {', '.join(held)}: give one of them" if held else ""
    return f"{path} is no bundle and has no versions{hint}"
