"""Choosing the reader of a file: by its suffix; for standard input by the first byte."""

from __future__ import annotations

from pathlib import PurePath

from detector.files.delimited import DelimitedSource
from detector.files.ndjson import NdjsonSource
from detector.files.parquet import ParquetSource
from detector.files.paths import STDIN
from detector.files.source import ReadOptions, TableSource
from detector.files.stream import BOM, ByteStream

PARQUET = {".parquet", ".pq"}
NDJSON = {".ndjson", ".jsonl"}
COMPRESSED = {".gz", ".zst"}
PEEK_BYTES = 1 << 12
DEFAULT_OPTIONS = ReadOptions()


def open_source(path: str, options: ReadOptions = DEFAULT_OPTIONS) -> TableSource:
    """Open a table: Parquet and NDJSON by their suffixes, everything else as CSV; `-` is standard input.

    CSV and NDJSON files may have `.gz` or `.zst` after their suffix.

    Raises:
        TableError: the file does not exist, cannot be read, is empty, or has no usable header.
    """
    suffixes = [suffix.lower() for suffix in PurePath(path).suffixes]
    if suffixes and suffixes[-1] in PARQUET:
        return ParquetSource(path)
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSED else ""
    stream = ByteStream(path, compression, options.encoding)
    try:
        is_ndjson = starts_with_object(stream) if path == STDIN else bool(suffixes) and suffixes[-1] in NDJSON
        return NdjsonSource(stream) if is_ndjson else DelimitedSource(stream, options)
    except BaseException:
        stream.close()
        raise


def starts_with_object(stream: ByteStream) -> bool:
    """Return whether the first byte that is not blank starts a JSON object."""
    return stream.peek(PEEK_BYTES).removeprefix(BOM).lstrip().startswith(b"{")
