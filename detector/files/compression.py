"""Decompression in bounded pieces that detects truncated files."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol, cast

# A kilobyte of zstd expands to at most 32 MB, so a decompression bomb cannot fill the memory; larger inputs are no faster.
INPUT_BYTES = 1 << 10


class DamagedFile(Exception):
    """Compressed data that is invalid or truncated."""


class ByteReader(Protocol):
    """Anything that bytes can be read from."""

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes; return none at the end."""


class GzipReader:
    """Reads the content of a gzip file, member after member."""

    def __init__(self, compressed: ByteReader) -> None:
        self._file = gzip.GzipFile(fileobj=compressed, mode="rb")  # type: ignore[call-overload]  # only `read` is used

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes.

        Raises:
            DamagedFile: the data is not gzip, was modified, or is truncated.
        """
        try:
            return cast("bytes", self._file.read(size))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DamagedFile(str(error)) from error


class ZstdStream:
    """Decompresses the content of a zstd file, frame after frame, as its bytes arrive.

    The library's own reader does not notice a truncated file; this checks that each frame is complete.
    """

    def __init__(self, max_window: int = 0) -> None:
        """Accept frames with a window of at most `max_window` bytes (0: the library's limit)."""
        import zstandard

        self._library = zstandard
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=max_window)
        self._frame: zstandard.ZstdDecompressionObj | None = None

    def decompress(self, data: bytes, /) -> Iterator[bytes]:
        """Yield what the next bytes decompress to, in pieces of bounded size.

        Raises:
            DamagedFile: they are not zstd, or were modified.
        """
        for start in range(0, len(data), INPUT_BYTES):
            part = data[start : start + INPUT_BYTES]
            while part:
                self._frame = self._frame or self._decompressor.decompressobj()
                try:
                    output = self._frame.decompress(part)
                except self._library.ZstdError as error:
                    raise DamagedFile(str(error)) from error
                part = b""
                if self._frame.eof:
                    part, self._frame = self._frame.unused_data, None
                if output:
                    yield output

    def finish(self) -> None:
        """Raise if a frame is incomplete.

        Raises:
            DamagedFile: it is.
        """
        if self._frame is not None:
            raise DamagedFile("it ends in the middle of a zstd frame")


class ZstdReader:
    """Reads the content of a zstd file."""

    def __init__(self, compressed: ByteReader) -> None:
        self._compressed = compressed
        self._stream = ZstdStream()
        self._output = b""

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes.

        Raises:
            DamagedFile: the data is not zstd, was modified, or is truncated.
        """
        while not self._output:
            data = self._compressed.read(INPUT_BYTES)
            if not data:
                self._stream.finish()
                break
            self._output = b"".join(self._stream.decompress(data))
        data, self._output = self._output[:size], self._output[size:]
        return data


DECOMPRESSORS: dict[str, Callable[[ByteReader], ByteReader]] = {".gz": GzipReader, ".zst": ZstdReader}
