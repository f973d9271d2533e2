"""A file that appears under its name only when it is whole.

It grows under a temporary name in the same folder, is forced to the disk, and only then renamed. Standard output and
devices cannot be renamed: they get their bytes as they come.
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
    """Where the bytes go."""

    @property
    def file(self) -> BinaryIO:
        """The file, opened when it is first asked for."""

    def flush(self) -> None:
        """Make sure that every byte is safe."""

    def commit(self) -> None:
        """Let the file appear under its name."""

    def discard(self) -> None:
        """Leave nothing behind."""


class AtomicFile:
    """A regular file."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))  # a link stays a link
        self._work = temporary_path(self.path)

    @functools.cached_property
    def file(self) -> BinaryIO:
        """The temporary file; made when `discard` is near, so that a signal at the wrong moment leaves none behind.

        Raises:
            OutputError: it cannot be made there.
        """
        with output_errors(str(self.path)):
            return self._work.open("xb")

    def flush(self) -> None:
        """Force the bytes to the disk."""
        with output_errors(str(self.path)):
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()

    def commit(self) -> None:
        """Rename the file."""
        with output_errors(str(self.path)):
            self._work.replace(self.path)

    def discard(self) -> None:
        """Delete the temporary file."""
        if opened := vars(self).get("file"):
            with contextlib.suppress(OSError):  # closing may want to write what there is no room for
                opened.close()
        self._work.unlink(missing_ok=True)


class DirectOutput:
    """Standard output, a device or a pipe."""

    def __init__(self, path: str) -> None:
        self._path = path

    @functools.cached_property
    def file(self) -> BinaryIO:
        """Standard output, or the device.

        Raises:
            OutputError: it may not be written.
        """
        with output_errors(self._path):
            return sys.stdout.buffer if self._path == STDOUT else Path(self._path).open("wb")

    def flush(self) -> None:
        """Hand over what is still held back."""
        with output_errors(self._path):
            self._close()

    def commit(self) -> None:
        """Do nothing: what was written is out already."""

    def discard(self) -> None:
        """Give up what is still held back, where it cannot be handed over."""
        try:
            self._close()
        except OSError:
            discard_buffer(self.file)

    def _close(self) -> None:
        """Close the file; standard output is not ours to close."""
        if self._path == STDOUT:
            self.file.flush()
        else:
            self.file.close()


def temporary_path(path: Path) -> Path:
    """Give a free temporary name in a file's folder; of a device, in the folder for temporary files."""
    folder = Path(tempfile.gettempdir()) if _is_special(path) else Path(os.path.realpath(path)).parent
    return folder / f".{secrets.token_hex(8)}.part"


def open_output(path: str) -> OutputFile:
    """Give a place to write to."""
    return DirectOutput(path) if path == STDOUT or _is_special(Path(path)) else AtomicFile(Path(path))


def check(path: str, inputs: Iterable[str], *, force: bool) -> None:
    """Refuse an output before any work is done for it.

    Raises:
        OutputError: it is there already, is an input, is a folder, has no name, or its folder is not there.
    """
    if path == "":
        raise OutputError("the output's name is empty: name a file to write")
    with output_errors(path):
        _check(path, inputs, force=force)


def _check(path: str, inputs: Iterable[str], *, force: bool) -> None:
    """Refuse an output; a name that the system will not look at raises what the system says."""
    place = Path(path)
    if path == STDOUT or _is_special(place):
        return
    if place.is_dir():
        raise OutputError(f"{path} is a folder: name a file in it")
    if not place.absolute().parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {place.parent}")
    if any(os.path.realpath(path) == os.path.realpath(name) for name in inputs):
        raise OutputError(f"{path} is one of the files to read: write to another one")
    if place.exists() and not force:
        raise OutputError(f"{path} is there already; --force replaces it")


def write(path: str, content: bytes) -> None:
    """Write a whole file.

    Raises:
        OutputError: it cannot be written; nothing is left of it then.
    """
    output = open_output(path)
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
    """Turn what the system says of a file into one line; a reader who has left is nobody's error."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def discard_buffer(file: IO[bytes] | IO[str]) -> None:
    """Let what a file still holds back go nowhere, or Python would try to write it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, file.fileno())
    os.close(nowhere)


def _is_special(place: Path) -> bool:
    """Tell a device or a pipe from a file or a name that is still free."""
    return place.exists() and not place.is_file() and not place.is_dir()
