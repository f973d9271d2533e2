"""Output files that appear under their name only when they are complete.

The bytes go to a temporary file in the same folder, which is forced to the disk and renamed. Standard output and devices
cannot be renamed: they are written directly.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, Protocol

from detector.errors import OutputError

STDOUT = "-"


class OutputFile(Protocol):
    """Where the bytes of an output go."""

    @property
    def file(self) -> BinaryIO:
        """The open file; opened at the first access."""

    def flush(self) -> None:
        """Write all bytes out, to the disk where there is one."""

    def commit(self) -> None:
        """Make the file appear under its name."""

    def discard(self) -> None:
        """Leave nothing behind."""


class AtomicFile:
    """A regular file, written under a temporary name."""

    def __init__(self, path: Path, *, force: bool = True) -> None:
        """Without `force`, a file of this name that appears meanwhile is not replaced."""
        self.path = Path(os.path.realpath(path))  # a link stays a link
        self._temporary = temporary_path(self.path)
        self._force = force
        self._is_new = False  # whether there is a file of ours that replaced none

    @functools.cached_property
    def file(self) -> BinaryIO:
        """The temporary file; created only here, within reach of `discard`, so that a signal leaves none behind.

        Raises:
            OutputError: it cannot be created.
        """
        with output_errors(str(self.path)):
            return self._temporary.open("xb")

    def flush(self) -> None:
        """Force the bytes to the disk."""
        with output_errors(str(self.path)):
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()

    def commit(self) -> None:
        """Rename the temporary file.

        Raises:
            OutputError: there is a file of this name by now, which may not be replaced.
        """
        with output_errors(str(self.path)):
            if self._force:
                self._temporary.replace(self.path)
            else:
                self._claim()
                self._is_new = True

    def _claim(self) -> None:
        """Rename the temporary file unless the name is taken.

        A hard link fails then; where the file system has none, so does creating an empty file of that name.
        """
        try:
            self.path.hardlink_to(self._temporary)
        except FileExistsError as error:
            raise _exists(str(self.path)) from error
        except OSError:
            try:
                self.path.touch(exist_ok=False)
            except FileExistsError as error:
                raise _exists(str(self.path)) from error
            self._temporary.replace(self.path)
        else:
            self._temporary.unlink()

    def discard(self) -> None:
        """Delete the temporary file, and one that appeared but belongs to an output that failed."""
        if self._is_new:
            self.path.unlink(missing_ok=True)
        if opened := vars(self).get("file"):
            with contextlib.suppress(OSError):  # close() may flush to a full disk
                opened.close()
        self._temporary.unlink(missing_ok=True)


class DirectOutput:
    """Standard output, a device or a pipe."""

    def __init__(self, path: str) -> None:
        self._path = path

    @functools.cached_property
    def file(self) -> BinaryIO:
        """Standard output, or the open device.

        Raises:
            OutputError: it cannot be opened.
        """
        with output_errors(self._path):
            return standard_output() if self._path == STDOUT else Path(self._path).open("wb")

    def flush(self) -> None:
        """Write the buffered bytes."""
        with output_errors(self._path):
            self._close()

    def commit(self) -> None:
        """Do nothing: the bytes are written already."""

    def discard(self) -> None:
        """Write the buffered bytes, or drop them if that fails."""
        if "file" not in vars(self):
            return
        try:
            self._close()
        except OSError:
            discard_buffer(self.file)

    def _close(self) -> None:
        if self._path == STDOUT:
            self.file.flush()  # not ours to close
        else:
            self.file.close()


def temporary_path(path: Path) -> Path:
    """Return an unused name in the folder of a file; for a device, in the system's temporary folder."""
    folder = Path(tempfile.gettempdir()) if _is_special(path) else Path(os.path.realpath(path)).parent
    return folder / f".{secrets.token_hex(8)}.part"


def open_output(path: str, *, force: bool = True) -> OutputFile:
    """Return the output for a path; `-` is standard output. Without `force`, no file is replaced."""
    return DirectOutput(path) if path == STDOUT or _is_special(Path(path)) else AtomicFile(Path(path), force=force)


def check(path: str, inputs: Iterable[str], *, force: bool) -> None:
    """Check that an output may be written, before any work is done.

    Raises:
        OutputError: it exists already, is an input or a folder, has an empty name, or its folder does not exist.
    """
    if path == "":
        raise OutputError("the output's name is empty: name a file to write")
    with output_errors(path):
        _check(path, inputs, force=force)


def _check(path: str, inputs: Iterable[str], *, force: bool) -> None:
    """Check a name; one that the system does not accept raises an OSError."""
    target = Path(path)
    if path == STDOUT or _is_special(target):
        return
    if target.is_dir():
        raise OutputError(f"{path} is a folder: name a file in it")
    if not target.absolute().parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {target.parent}")
    if any(os.path.realpath(path) == os.path.realpath(name) for name in inputs):
        raise OutputError(f"{path} is one of the files to read: write to another one")
    if target.exists() and not force:
        raise _exists(path)


def _exists(path: str) -> OutputError:
    return OutputError(f"{path} exists already; --force replaces it")


def write(path: str, content: bytes, *, force: bool = True) -> None:
    """Write a complete file; without `force`, none is replaced.

    Raises:
        OutputError: it cannot be written; nothing is left of it then.
    """
    output = open_output(path, force=force)
    try:
        with output_errors(path):
            output.file.write(content)
        output.flush()
        output.commit()
    except BaseException:
        output.discard()
        raise


@contextlib.contextmanager
def output_errors(path: str) -> Iterator[None]:
    """Raise an OSError as an OutputError that names the output; a reader that has closed its pipe stays a BrokenPipeError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def standard_output() -> BinaryIO:
    """Return standard output.

    Raises:
        OutputError: it is closed, as by `>&-`.
    """
    if sys.stdout is None:
        raise OutputError("cannot write standard output: it is closed")
    return sys.stdout.buffer


def discard_buffer(file: IO[bytes] | IO[str]) -> None:
    """Redirect a file to the null device, so that Python does not fail to flush its buffer at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, file.fileno())
    os.close(null)


def _is_special(path: Path) -> bool:
    """Return whether a path is a device or a pipe, neither a file, a folder nor an unused name."""
    return path.exists() and not path.is_file() and not path.is_dir()
