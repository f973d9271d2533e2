"""Where verdicts go: a format for each suffix, and one protocol for all of them.

The order is `add`, again and again, then `finish` (every byte is safe), then `publish` (the world may see it); when
anything fails on the way, `discard` leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import IO, Protocol, cast

import polars as pl

from detector.errors import SettingError
from serving.files.output import OutputFile, open_output, output_errors

PARQUET = {".parquet", ".pq"}
NDJSON = {".ndjson", ".jsonl"}
COMPRESSED = {".gz", ".zst"}
OTHER_FORMATS = {".arrow", ".avro", ".bz2", ".feather", ".json", ".ods", ".orc", ".png", ".tsv", ".xls", ".xlsx", ".xz", ".zip"}
FASTEST = 1  # gzip's level: the usual one takes four times as long for a file a sixth smaller


class FileSink(Protocol):
    """A place for frames that all have the same columns."""

    def add(self, frame: pl.DataFrame) -> None:
        """Take the next rows."""

    def flush(self) -> None:
        """Make sure that every row is safe."""

    def commit(self) -> None:
        """Let the result appear under its name."""

    def discard(self) -> None:
        """Leave nothing behind."""


Encode = Callable[[pl.DataFrame, IO[bytes], bool], object]  # the frame, where to, whether it is the first


class TextFileSink:
    """CSV or NDJSON, compressed or not."""

    def __init__(self, path: str, output: OutputFile, encode: Encode, compression: str) -> None:
        self._path = path
        self._output = output
        self._encode = encode
        self._compression = compression
        self._is_first = True

    @functools.cached_property
    def _bytes(self) -> IO[bytes]:
        return _compressor(self._output.file, self._compression)

    def add(self, frame: pl.DataFrame) -> None:
        """Append rows."""
        text = io.BytesIO()  # polars, writing to a file itself, would not tell a full disk from other trouble
        self._encode(frame, text, self._is_first)
        self._is_first = False
        with output_errors(self._path):
            self._bytes.write(text.getbuffer())

    def flush(self) -> None:
        """End the compressed stream and force all to the disk."""
        if self._bytes is not self._output.file:
            with output_errors(self._path):
                self._bytes.close()
        self._output.flush()

    def commit(self) -> None:
        """Let the file appear."""
        self._output.commit()

    def discard(self) -> None:
        """Leave no file behind."""
        self._output.discard()


class LazySink:
    """A file that is there only if something was added; one left by an earlier run goes when this one has nothing."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._sink: FileSink | None = None

    def add(self, frame: pl.DataFrame) -> None:
        """Append rows, after making the file for the first ones."""
        self._sink = self._sink or open_sink(self._path)
        self._sink.add(frame)

    def flush(self) -> None:
        """Force all to the disk."""
        if self._sink:
            self._sink.flush()

    def commit(self) -> None:
        """Let the file appear, or an old one of that name disappear."""
        if self._sink:
            self._sink.commit()
        elif Path(self._path).is_file():
            Path(self._path).unlink()

    def discard(self) -> None:
        """Leave no file behind."""
        if self._sink:
            self._sink.discard()


def open_sink(path: str, image: str | None = None) -> FileSink:
    """Open the sink that a path's suffixes ask for; `-` is CSV on standard output.

    With `image`, a size such as 28x28, rows are drawn on a sheet, a .png.

    Raises:
        SettingError: the suffix names a format that is not written here, or the size is none.
    """
    if image is not None:
        return _open_sheet(path, image)
    form, compression = format_of(path)
    output = open_output(path)
    if form == "parquet":
        from serving.files.parquet import ParquetSink

        return ParquetSink(path, output)
    return TextFileSink(path, output, _encode_ndjson if form == "ndjson" else _encode_csv, compression)


def _open_sheet(path: str, image: str) -> FileSink:
    """Open a sheet of images."""
    from detector.images import parse_size
    from serving.files.contact_sheet import ContactSheetSink

    size = parse_size(image, "--image")
    if PurePath(path).suffix.lower() != ".png":
        raise SettingError(f"{path}: images are written as .png")
    return ContactSheetSink(path, open_output(path), size)


def format_of(path: str) -> tuple[str, str]:
    """Give the format and the compression that a path's suffixes ask for.

    Raises:
        SettingError: the suffix names a format that is not written here.
    """
    suffixes = [suffix.lower() for suffix in PurePath(path).suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSED else ""
    last = suffixes[-1] if suffixes else ""
    if last in OTHER_FORMATS or (compression and last in PARQUET):
        raise SettingError(f"{path}: written are .csv and .ndjson (also with .gz or .zst behind) and .parquet")
    if last in PARQUET:
        return "parquet", ""
    return ("ndjson" if last in NDJSON else "csv"), compression


@contextlib.contextmanager
def committed(*sinks: FileSink) -> Iterator[None]:
    """Publish all sinks when the block ends well, else none."""
    try:
        yield
        for sink in sinks:
            sink.flush()
        for sink in sinks:
            sink.commit()
    except BaseException:
        for sink in sinks:
            sink.discard()
        raise


def _encode_csv(frame: pl.DataFrame, to: IO[bytes], is_first: bool) -> None:  # noqa: FBT001 - `Encode`
    frame.write_csv(to, include_header=is_first)


def _encode_ndjson(frame: pl.DataFrame, to: IO[bytes], is_first: bool) -> None:  # noqa: FBT001, ARG001 - `Encode`
    frame.write_ndjson(to)


def _compressor(file: IO[bytes], compression: str) -> IO[bytes]:
    """Put a compressor before a file."""
    if compression == ".gz":
        import gzip

        # No name and no time inside: the same rows give the same bytes.
        return cast("IO[bytes]", gzip.GzipFile("", "wb", FASTEST, file, mtime=0))
    if compression == ".zst":
        import zstandard

        return zstandard.ZstdCompressor().stream_writer(file, closefd=False)
    return file
