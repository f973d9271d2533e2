"""The bytes of a file or of standard input: decompressed, counted for a progress bar, with errors of one line."""

from __future__ import annotations

import os
import stat
import sys
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from detector.errors import TableError
from detector.files.compression import DECOMPRESSORS, ByteReader, DamagedFile
from detector.files.paths import STDIN, missing_file_message

BOM = b"\xef\xbb\xbf"


class ByteStream:
    """A file, front to back."""

    def __init__(self, name: str, compression: str = "") -> None:
        """Open the file.

        Raises:
            TableError: it is not there, is a folder, or may not be read.
        """
        self.name = name
        self.file = CountedFile(name)
        self._bytes: ByteReader = DECOMPRESSORS[compression](self.file) if compression else self.file
        self._ahead = b""

    def read(self, size: int) -> bytes:
        """Give `size` bytes, fewer only at the end.

        Raises:
            TableError: the disk fails, or the compressed data is damaged.
        """
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        pieces = [data] if data else []
        left = size - len(data)
        while left and (piece := self._piece(left)):
            pieces.append(piece)
            left -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def peek(self, size: int) -> bytes:
        """Give the next `size` bytes, fewer only at the end, and leave them to be read."""
        data = self.read(size)
        self._ahead = data + self._ahead
        return data

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def _piece(self, size: int) -> bytes:
        try:
            return self._bytes.read(size)
        except DamagedFile as error:
            raise TableError(f"{self.name} is damaged or cut short ({error}): write or fetch it again") from error
        except OSError as error:
            raise TableError(f"{self.name} cannot be read: {error.strerror or error}") from error


class CountedFile:
    """The file on disk, or standard input, and how much of it was read."""

    def __init__(self, name: str) -> None:
        self._owned = name != STDIN
        self._file = open_file(name) if self._owned else standard_input()
        self.size = regular_size(self._file.fileno()) if self._owned else None
        self.position = 0

    def read(self, size: int, /) -> bytes:
        """Give some bytes."""
        data = self._file.read(size)
        self.position += len(data)
        return data

    def close(self) -> None:
        """Close the file; standard input is not ours to close."""
        if self._owned:
            self._file.close()


def open_file(name: str) -> FileIO:
    """Open a file without a buffer, since blocks are read whole.

    Raises:
        TableError: it is not there, is a folder, or may not be read.
    """
    try:
        return Path(name).open("rb", buffering=0)
    except FileNotFoundError as error:
        raise TableError(missing_file_message(name)) from error
    except IsADirectoryError as error:
        raise TableError(f"{name} is a folder: name its files, for instance '{Path(name) / '*.csv'}'") from error
    except OSError as error:
        raise TableError(f"{name} cannot be opened: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise TableError(f"{name!r} is no name of a file: {error}") from error


def standard_input() -> BinaryIO:
    """Give standard input as bytes.

    Raises:
        TableError: whoever started this process closed it.
    """
    if sys.stdin is None:
        raise TableError("standard input is closed: pipe a table into it, or name a file")
    return sys.stdin.buffer


def regular_size(descriptor: int) -> int | None:
    """Give the bytes on disk; a pipe cannot tell."""
    status = os.fstat(descriptor)
    return status.st_size if stat.S_ISREG(status.st_mode) else None
