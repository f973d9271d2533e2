"""Sinks: one output format for each suffix, behind one protocol.

The order of calls is `add`, any number of times, `flush` (every byte is written) and `commit` (the file appears); after
an error, `discard` leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import IO, Protocol, cast

import polars as pl

from detector.cells import as_text
from detector.errors import SettingError
from serving.files.output import OutputFile, open_output, output_errors

PARQUET = {".parquet", ".pq"}
NDJSON = {".ndjson", ".jsonl"}
COMPRESSED = {".gz", ".zst"}
UNSUPPORTED = {".arrow", ".avro", ".bz2", ".feather", ".json", ".ods", ".orc", ".png", ".tsv", ".xls", ".xlsx", ".xz", ".zip"}
GZIP_LEVEL = 1  # the default level takes four times as long for a file a sixth smaller


class FileSink(Protocol):
    """Writes frames that all have the same columns to a file."""

    def add(self, frame: pl.DataFrame) -> None:
        """Add rows."""

    def flush(self) -> None:
        """Write every byte out."""

    def commit(self) -> None:
        """Make the file appear under its name."""

    def discard(self) -> None:
        """Leave nothing behind."""


Encode = Callable[[pl.DataFrame, IO[bytes], bool], object]  # the frame, the output, whether it is the first frame


class TextFileSink:
    """CSV or NDJSON, compressed or not."""

    def __init__(self, path: str, output: OutputFile, encode: Encode, compression: str) -> None:
        self._path = path
        self._output = output
        self._encode = encode
        self._compression = compression
        self._is_first = True

    @functools.cached_property
    def _file(self) -> IO[bytes]:
        return _compressor(self._output.file, self._compression)

    def add(self, frame: pl.DataFrame) -> None:
        """Append rows."""
        text = io.BytesIO()  # polars, writing a file itself, does not distinguish a full disk from other errors
        self._encode(frame, text, self._is_first)
        self._is_first = False
        with output_errors(self._path):
            self._file.write(text.getbuffer())

    def flush(self) -> None:
        """End the compressed stream and force all bytes to the disk."""
        if self._file is not self._output.file:
            with output_errors(self._path):
                self._file.close()
        self._output.flush()

    def commit(self) -> None:
        """Make the file appear."""
        self._output.commit()

    def discard(self) -> None:
        """Leave no file behind."""
        self._output.discard()


class LazySink:
    """A file that exists only if rows were added; without any, `commit` deletes the file of an earlier run, with `force`."""

    def __init__(self, path: str, *, force: bool = True) -> None:
        self._path = path
        self._force = force
        self._sink: FileSink | None = None

    def add(self, frame: pl.DataFrame) -> None:
        """Append rows; the first ones create the file."""
        self._sink = self._sink or open_sink(self._path, force=self._force)
        self._sink.add(frame)

    def flush(self) -> None:
        """Force all bytes to the disk."""
        if self._sink:
            self._sink.flush()

    def commit(self) -> None:
        """Make the file appear, or an old one disappear."""
        if self._sink:
            self._sink.commit()
        elif self._force and Path(self._path).is_file():
            Path(self._path).unlink()

    def discard(self) -> None:
        """Leave no file behind."""
        if self._sink:
            self._sink.discard()


def open_sink(path: str, image: str | None = None, *, force: bool = True) -> FileSink:
    """Return the sink for a path's suffixes; `-` is CSV on standard output.

    With `image`, a size such as 28x28, rows are drawn as a contact sheet, a .png. Without `force`, no file is replaced.

    Raises:
        SettingError: the suffix names a format that cannot be written, or `image` is not a size.
    """
    if image is not None:
        return _open_contact_sheet(path, image, force=force)
    name, compression = format_of(path)
    output = open_output(path, force=force)
    if name == "parquet":
        from serving.files.parquet import ParquetSink

        return ParquetSink(path, output)
    return TextFileSink(path, output, _encode_ndjson if name == "ndjson" else _encode_csv, compression)


def _open_contact_sheet(path: str, image: str, *, force: bool) -> FileSink:
    from detector.images import parse_size
    from serving.files.contact_sheet import ContactSheetSink

    size = parse_size(image, "--image")
    if PurePath(path).suffix.lower() != ".png":
        raise SettingError(f"{path}: images are written as .png")
    return ContactSheetSink(path, open_output(path, force=force), size)


def format_of(path: str) -> tuple[str, str]:
    """Return the format and the compression of a path's suffixes; `csv` if there is none.

    Raises:
        SettingError: the suffix names a format that cannot be written.
    """
    suffixes = [suffix.lower() for suffix in PurePath(path).suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSED else ""
    last = suffixes[-1] if suffixes else ""
    if last in UNSUPPORTED or (compression and last in PARQUET):
        raise SettingError(f"{path}: supported outputs are .csv and .ndjson (both also with .gz or .zst) and .parquet")
    if last in PARQUET:
        return "parquet", ""
    return ("ndjson" if last in NDJSON else "csv"), compression


@contextlib.contextmanager
def committed(*sinks: FileSink) -> Iterator[None]:
    """Commit all sinks when the context ends without an error, otherwise none."""
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
    frame.with_columns(_as_texts(frame)).write_csv(to, include_header=is_first)


def _as_texts(frame: pl.DataFrame) -> list[pl.Series]:
    """Return the columns that CSV has no type for, as text: lists and structs as JSON."""
    return [as_text(series) for series in frame if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object)]


def _encode_ndjson(frame: pl.DataFrame, to: IO[bytes], is_first: bool) -> None:  # noqa: FBT001, ARG001 - `Encode`
    frame.with_columns(as_text(series) for series in frame if series.dtype in (pl.Binary, pl.Object)).write_ndjson(to)


def _compressor(file: IO[bytes], compression: str) -> IO[bytes]:
    if compression == ".gz":
        import gzip

        # Without a name and a time, the same rows give the same bytes.
        return cast("IO[bytes]", gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0))
    if compression == ".zst":
        import zstandard

        return zstandard.ZstdCompressor().stream_writer(file, closefd=False)
    return file
