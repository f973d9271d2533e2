"""Content of a tailed file, plain or compressed, and how it is recognised under another name or inode.

A file is recognised by the digests of its first bytes and of those before the position, because a file system gives the inode of
a deleted file to the next one, a compressed file is another inode, and `copytruncate` keeps the inode and changes the content.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from pathlib import Path
from typing import BinaryIO

from detector.files.compression import DECOMPRESSORS, ByteReader, DamagedFile
from serving.stream.rotation import COMPRESSED, Generations, NamedFile
from serving.stream.state_store import FilePosition

HEAD_BYTES = TAIL_BYTES = 4096  # of the first bytes and of those before a position, at most
SEARCHES = 10  # for a file while files are renamed


class Truncated(Exception):
    """What was read of the file is not in it any more."""


class FileContent:
    """Bytes of a file, decompressed, from an offset on; keeps the bytes that recognise it."""

    def __init__(self, path: Path, *, is_plain: bool = False) -> None:
        """Open a file; `is_plain` keeps a name that looks compressed from deciding.

        Raises:
            OSError: it cannot be opened.
            DamagedFile: nothing here can decompress it.
        """
        self.path = path
        self.is_compressed = not is_plain and path.suffix in COMPRESSED
        if self.is_compressed and path.suffix not in DECOMPRESSORS:
            raise DamagedFile(f"{path.suffix} cannot be decompressed")
        self._file: BinaryIO = path.open("rb", buffering=0)
        self._reader: ByteReader = DECOMPRESSORS[path.suffix](self._file) if self.is_compressed else self._file
        stat = self.stat
        self.identity = stat.st_dev, stat.st_ino
        self.offset = 0
        self.head = b""
        self._recent = bytearray()  # the last bytes that were read: `TAIL_BYTES` of them, and those that `keep` asks for

    @property
    def stat(self) -> os.stat_result:
        """The state of the open file, whatever its name is now."""
        return os.fstat(self._file.fileno())

    @property
    def is_deleted(self) -> bool:
        """Whether the file has no name any more."""
        return not self.stat.st_nlink

    @property
    def is_closed(self) -> bool:
        """Whether the file was closed."""
        return self._file.closed

    def is_file(self, file: NamedFile) -> bool:
        """Return whether this is the open file; no file is once this one is closed, because inodes are used again."""
        return file.identity == self.identity and not self.is_closed

    def read(self, size: int) -> bytes:
        """Read the next bytes; none at the end.

        Raises:
            Truncated: what was read before is not in the file any more.
            DamagedFile: the file cannot be decompressed.
        """
        data = self._reader.read(size)
        if not self._has_read_bytes():  # checked after the read: what came before it was not truncated then
            raise Truncated
        self._advance(data)
        return data

    def skip_hole(self) -> None:
        """Skip the hole at the beginning of a file that was truncated and whose writer went on at its old offset."""
        if self.offset or self.is_compressed:
            return
        with contextlib.suppress(OSError):  # the file is empty, or all hole, or the system cannot tell
            self.offset = self._file.seek(0, os.SEEK_DATA)
            self.head = bytes(min(self.offset, HEAD_BYTES))
            self._recent += self.head

    def seek(self, position: FilePosition) -> bool:
        """Move to a position; return False if the file ends before it, and stay at its end.

        Raises:
            LookupError: the file is another one, which does not hold the bytes of the position.
            DamagedFile: it cannot be decompressed.
        """
        self._skip(min(HEAD_BYTES, position.offset))
        if digest(self.head[: position.head_bytes]) != position.head or self.offset < position.head_bytes:
            raise LookupError
        if not self.is_compressed and self.offset < position.offset - TAIL_BYTES and self.stat.st_size >= position.offset:
            self.offset = self._file.seek(position.offset - TAIL_BYTES)
            self._recent.clear()
        self._skip(position.offset)
        if self.offset < position.offset:
            return False
        if position.tail_bytes and digest(self.tail(0, position.tail_bytes)) != position.tail:
            raise LookupError
        return True

    def keep(self, unread: int) -> None:
        """Forget bytes that no longer recognise a position, whose last `unread` bytes are not part of a batch yet."""
        del self._recent[: max(0, len(self._recent) - TAIL_BYTES - unread)]

    def tail(self, unread: int, size: int = TAIL_BYTES) -> bytes:
        """Return the bytes before the last `unread` ones."""
        end = len(self._recent) - unread
        return bytes(self._recent[max(0, end - size) : end])

    def position(self, unread: int, row: int, since: int | None) -> FilePosition:
        """Return the position before the last `unread` bytes, at which the line `row` begins; `since` as in `FilePosition`."""
        offset = self.offset - unread
        head, tail = self.head[:offset], self.tail(unread)
        return FilePosition(self.identity[1], digest(head), len(head), offset, row, digest(tail), len(tail), since)

    def end(self) -> None:
        """Return no more bytes."""
        self._reader = io.BytesIO()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _skip(self, offset: int) -> None:
        """Read up to an offset, or to the end."""
        while self.offset < offset and (data := self._reader.read(min(1 << 20, offset - self.offset))):
            self._advance(data)
            self.keep(0)

    def _advance(self, data: bytes) -> None:
        self.head += data[: max(0, HEAD_BYTES - self.offset)] if self.offset < HEAD_BYTES else b""
        self.offset += len(data)
        self._recent += data

    def _has_read_bytes(self) -> bool:
        """Return whether the file still holds the bytes that were read last."""
        if self.is_compressed:
            return True
        tail = self.tail(0)
        return os.pread(self._file.fileno(), len(tail), self.offset - len(tail)) == tail


def open_content(tailed: Path, file: NamedFile) -> FileContent:
    """Open a file of a tailed name.

    Raises:
        FileNotFoundError: it was renamed or deleted.
        DamagedFile: nothing here can decompress it.
    """
    content = FileContent(file.path, is_plain=file.path == tailed)
    if content.is_file(file):
        return content
    content.close()
    raise FileNotFoundError(file.path)


def find_content(
    tailed: Path, position: FilePosition, except_for: tuple[int, int] | None = None
) -> tuple[FileContent | None, bool]:
    """Find the file of a position under any name, except for one device and inode, and open it there.

    Return whether the file reaches the position; one that ends before it is a copy that was made before the last lines. Without
    bytes before the position nothing can be recognised.
    """
    short: FileContent | None = None
    for _ in range(SEARCHES if position.offset else 0):
        is_stable = True
        for file in sorted(Generations(tailed), key=lambda file: file.stat.st_ino != position.inode):
            if file.identity == except_for:
                continue
            try:
                content, is_complete = _open_at(tailed, file, position)
            except FileNotFoundError:
                is_stable = False
                continue
            if content and is_complete:
                if short:
                    short.close()
                return content, True
            if content and (short or not file.style):
                content.close()
            else:
                short = short or content
        if is_stable:
            break
    return short, False


def _open_at(tailed: Path, file: NamedFile, position: FilePosition) -> tuple[FileContent | None, bool]:
    """Open a file at a position, if it holds the bytes before it; return too whether it reaches the position.

    Raises:
        FileNotFoundError: it was renamed or deleted.
    """
    try:
        content = open_content(tailed, file)
    except DamagedFile:
        return None, False
    except PermissionError:
        if file.stat.st_ino == position.inode:
            raise
        return None, False
    try:
        return content, content.seek(position)
    except (LookupError, DamagedFile):
        content.close()
        return None, False


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes as text."""
    return hashlib.sha256(data).hexdigest()
