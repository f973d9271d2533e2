"""Names and versions of bundles: `models/pumps/1`, `models/pumps/2`, and an optional file `pin` with one of these numbers.

A version never changes. Every command takes a model's folder (its pinned version, else its highest) or the folder of one
version, and writes the next version, which has a temporary name until it is complete. `detector.pin` changes the pin.
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
    """Return the folder of the version that `path` means.

    Raises:
        BundleMissing: there is none, or it cannot be read.
        BundleCorrupt: the pin names a version that does not exist.
    """
    try:
        return _find(path)
    except OSError as error:
        raise BundleMissing(f"{path} cannot be read: {error.strerror}") from error


def _find(path: Path) -> Path:
    if (path / bundle.MANIFEST).is_file():
        return path
    pinned = _pinned(path)
    if pinned is not None:
        return pinned
    numbers = versions(path)
    if numbers:
        return path / str(numbers[-1])
    raise BundleMissing(_missing_message(path))


def candidates(path: Path) -> list[Path]:
    """Return the folders of the versions that `path` may mean, in order of preference; a pinned version has no substitute.

    Raises:
        BundleMissing: there is none, or it cannot be read.
        BundleCorrupt: the pin names a version that does not exist.
    """
    preferred = find(path)
    if preferred == path or (path / PIN).is_file():
        return [preferred]
    return [path / str(number) for number in reversed(versions(path))]


def versions(path: Path) -> list[int]:
    """Return the numbers of all versions of a model, ascending."""
    if not path.is_dir():
        return []
    return sorted(int(entry.name) for entry in path.iterdir() if _is_version(entry))


def model_folder(path: Path) -> Path:
    """Return the model's folder; `path` is this folder or one of its versions."""
    path = path.absolute()
    return path.parent if _is_version(path) else path


def check_writable(path: Path) -> None:
    """Raise if no version can be written at `path`; called before any work is done.

    Raises:
        OutputError: a part of the path is a file, the folder is not writable, or it holds a bundle itself.
    """
    try:
        folder = model_folder(path)
        _check_unnumbered(folder)
        existing = next(ancestor for ancestor in (folder, *folder.parents) if ancestor.exists())
    except OSError as error:
        raise OutputError(f"cannot write to {path}: {error.strerror}") from error
    if not existing.is_dir():
        raise OutputError(f"cannot write to {path}: {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write to {path}: {existing} is not writable")


@contextlib.contextmanager
def next_version(path: Path) -> Iterator[tuple[int, Path]]:
    """Yield a version number and a temporary folder, which becomes that version of `path` if the block does not raise.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        folder = model_folder(path)
        is_new = not folder.exists()
        _check_unnumbered(folder)
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
        reserved = _reserve(folder)
    except OSError as error:
        raise OutputError(f"cannot write to {path}: {error.strerror}") from error
    try:
        yield int(reserved.name), temporary
        temporary.chmod(0o755)
        temporary.replace(reserved)
    except OSError as error:
        raise OutputError(f"cannot write {reserved}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for maybe_empty in [reserved, folder] if is_new else [reserved]:
            with contextlib.suppress(OSError):  # not empty: it holds a version
                maybe_empty.rmdir()


def _check_unnumbered(folder: Path) -> None:
    """Raise if a model's folder is itself a bundle."""
    if (folder / bundle.MANIFEST).is_file():
        raise OutputError(f"{folder} is a bundle without a version number: move its files to {folder / '1'}")


def _reserve(folder: Path) -> Path:
    """Create the empty folder of the next version; concurrent writers get different numbers."""
    for number in itertools.count(max(versions(folder), default=0) + 1):
        with contextlib.suppress(FileExistsError):
            (folder / str(number)).mkdir()
            break
    return folder / str(number)


def _is_version(path: Path) -> bool:
    return re.fullmatch(r"[1-9][0-9]{0,17}", path.name) is not None and (path / bundle.MANIFEST).is_file()


def _pinned(path: Path) -> Path | None:
    """Return the folder of the pinned version; None without a pin."""
    pin = path / PIN
    if not pin.is_file():
        return None
    number = pin.read_text(errors="replace").strip()[:20]
    if not (number.isascii() and number.isdigit() and _is_version(path / number)):
        raise BundleCorrupt(f"{pin} names version {number!r}, which does not exist; there are {versions(path)}")
    return path / number


def _hint(path: Path) -> str:
    """List the versions beside a missing path, or suggest models with similar names."""
    parent = path.absolute().parent
    if numbers := versions(parent):
        return f" ({parent.name} has the versions {', '.join(map(str, numbers))})"
    return suggest_names([path.name], [entry.name for entry in parent.iterdir() if versions(entry)]) if parent.is_dir() else ""


def _missing_message(path: Path) -> str:
    if not path.exists():
        return f"{path} does not exist{_hint(path)}; `residuum train` writes a bundle there with --to {path}"
    models = [entry.name for entry in sorted(path.iterdir()) if versions(entry)] if path.is_dir() else []
    hint = f"; it holds the models {', '.join(models)}: choose one of them" if models else ""
    return f"{path} is not a bundle and has no versions{hint}"
