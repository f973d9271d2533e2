"""Decompression in bounded pieces, which notices a file that was cut short. Who reads it: `stream`."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Protocol, cast

# A kilobyte of zstd holds at most 32 MB, so a file made to explode cannot take the memory; larger bites are no faster.
INPUT_BYTES = 1 << 10


class DamagedFile(Exception):
    """Compressed bytes that make no sense or end too early."""


class ByteReader(Protocol):
    """Anything that gives bytes: at most as many as asked for, none at the end."""

    def read(self, size: int, /) -> bytes:
        """Give some bytes."""


class GzipReader:
    """What a gzip file holds, member after member."""

    def __init__(self, compressed: ByteReader) -> None:
        self._file = gzip.GzipFile(fileobj=compressed, mode="rb")  # type: ignore[call-overload]  # it only ever reads

    def read(self, size: int, /) -> bytes:
        """Give some bytes.

        Raises:
            Damaged: the data is no gzip, was changed, or ends too early.
        """
        try:
            return cast("bytes", self._file.read(size))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DamagedFile(str(error)) from error


class ZstdReader:
    """What a zstd file holds, frame after frame.

    The library's own reader takes a file that was cut short for one that has ended; this one asks each frame.
    """

    def __init__(self, compressed: ByteReader) -> None:
        import zstandard

        self._library = zstandard
        self._compressed = compressed
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._input = b""
        self._ready = b""

    def read(self, size: int, /) -> bytes:
        """Give some bytes.

        Raises:
            Damaged: the data is no zstd, was changed, or ends too early.
        """
        while not self._ready:
            self._input = self._input or self._compressed.read(INPUT_BYTES)
            if not self._input:
                self._end()
                break
            self._ready = self._decompress()
        given, self._ready = self._ready[:size], self._ready[size:]
        return given

    def _decompress(self) -> bytes:
        self._frame = self._frame or self._library.ZstdDecompressor().decompressobj()
        try:
            ready = self._frame.decompress(self._input)
        except self._library.ZstdError as error:
            raise DamagedFile(str(error)) from error
        self._input = b""
        if self._frame.eof:
            self._input, self._frame = self._frame.unused_data, None
        return ready

    def _end(self) -> None:
        if self._frame is not None:
            raise DamagedFile("it ends in the middle of a zstd frame")


DECOMPRESSORS: dict[str, Callable[[ByteReader], ByteReader]] = {".gz": GzipReader, ".zst": ZstdReader}
