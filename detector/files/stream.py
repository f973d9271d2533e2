"""The bytes of a file or of standard input: decompressed, and counted for a progress bar; failures become `TableError`."""

from __future__ import annotations

import os
import stat
import sys
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from detector.errors import TableError
from detector.files.compression import DECOMPRESSORS, ByteReader, DamagedFile
from detector.files.encoding import BOM, MARKS, UTF8, TranscodingReader, WrongEncoding, find_codec
from detector.files.paths import STDIN, missing_file_message

__all__ = ["BOM", "ByteStream", "CountedFile"]


class ByteStream:
    """The decompressed content of a file."""

    def __init__(self, name: str, compression: str = "", encoding: str = "") -> None:
        """Open the file; text in another encoding than UTF-8, named or told by a byte order mark, is converted.

        Raises:
            TableError: the file does not exist, is a folder, or cannot be opened.
            SettingError: there is no such encoding.
        """
        self.name = name
        codec = find_codec(encoding)
        self.file = CountedFile(name)
        self._bytes: ByteReader = DECOMPRESSORS[compression](self.file) if compression else self.file
        self._peeked = b""
        try:
            self._convert(codec)
        except BaseException:
            self.close()
            raise

    def _convert(self, codec: str) -> None:
        """Convert what is read to UTF-8; a byte order mark wins over the named encoding."""
        start = self.peek(max(map(len, MARKS)))
        codec = next((of_mark for mark, of_mark in MARKS.items() if start.startswith(mark)), codec)
        if codec != UTF8:
            self._bytes, self._peeked = TranscodingReader(self._peeked, self._bytes, codec), b""

    def read(self, size: int) -> bytes:
        """Read `size` bytes; fewer only at the end.

        Raises:
            TableError: reading fails, or the compressed data is damaged.
        """
        data, self._peeked = self._peeked[:size], self._peeked[size:]
        pieces = [data] if data else []
        missing = size - len(data)
        while missing and (piece := self._read_piece(missing)):
            pieces.append(piece)
            missing -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes (fewer only at the end) without consuming them."""
        data = self.read(size)
        self._peeked = data + self._peeked
        return data

    def unread(self, data: bytes) -> None:
        """Put bytes in front of those that are read next."""
        self._peeked = data + self._peeked

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def _read_piece(self, size: int) -> bytes:
        try:
            return self._bytes.read(size)
        except WrongEncoding as error:
            raise TableError(f"{self.name} is not written in {error}: name its encoding with --encoding") from error
        except DamagedFile as error:
            raise TableError(f"{self.name} is damaged or cut short ({error}): write or fetch it again") from error
        except OSError as error:
            raise TableError(f"{self.name} cannot be read: {error.strerror or error}") from error


class CountedFile:
    """A file on disk or standard input; `position` is the number of bytes read."""

    def __init__(self, name: str) -> None:
        self._owned = name != STDIN
        self._file = open_file(name) if self._owned else standard_input()
        self.size = regular_size(self._file.fileno()) if self._owned else None
        self.position = 0

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes."""
        data = self._file.read(size)
        self.position += len(data)
        return data

    def close(self) -> None:
        """Close the file, unless it is standard input."""
        if self._owned:
            self._file.close()


def open_file(name: str) -> FileIO:
    """Open a file unbuffered, because it is read in large blocks.

    Raises:
        TableError: the file does not exist, is a folder, or cannot be opened.
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
        raise TableError(f"{name!r} is not a file name: {error}") from error


def standard_input() -> BinaryIO:
    """Return standard input as bytes.

    Raises:
        TableError: standard input is closed.
    """
    if sys.stdin is None:
        raise TableError("standard input is closed: pipe rows into it, or name a file")
    return sys.stdin.buffer


def regular_size(descriptor: int) -> int | None:
    """Return the number of bytes on disk; None for a pipe."""
    status = os.fstat(descriptor)
    return status.st_size if stat.S_ISREG(status.st_mode) else None
