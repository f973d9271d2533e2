"""Decompression in bounded pieces that detects truncated files."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
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


class ZstdReader:
    """Reads the content of a zstd file, frame after frame.

    The library's own reader does not notice a truncated file; this one checks that each frame is complete.
    """

    def __init__(self, compressed: ByteReader) -> None:
        import zstandard

        self._library = zstandard
        self._compressed = compressed
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._input = b""
        self._output = b""

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes.

        Raises:
            DamagedFile: the data is not zstd, was modified, or is truncated.
        """
        while not self._output:
            self._input = self._input or self._compressed.read(INPUT_BYTES)
            if not self._input:
                if self._frame is not None:
                    raise DamagedFile("it ends in the middle of a zstd frame")
                break
            self._output = self._decompress()
        data, self._output = self._output[:size], self._output[size:]
        return data

    def _decompress(self) -> bytes:
        self._frame = self._frame or self._library.ZstdDecompressor().decompressobj()
        try:
            output = self._frame.decompress(self._input)
        except self._library.ZstdError as error:
            raise DamagedFile(str(error)) from error
        self._input = b""
        if self._frame.eof:
            self._input, self._frame = self._frame.unused_data, None
        return output


DECOMPRESSORS: dict[str, Callable[[ByteReader], ByteReader]] = {".gz": GzipReader, ".zst": ZstdReader}
