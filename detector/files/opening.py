"""Choosing the reader of a file: by its suffix; for standard input by the first byte."""

from __future__ import annotations

from pathlib import PurePath

from detector.files.delimited import DelimitedSource
from detector.files.json_array import to_lines
from detector.files.ndjson import NdjsonSource
from detector.files.parquet import ParquetSource
from detector.files.paths import STDIN
from detector.files.source import ReadOptions, TableSource
from detector.files.stream import BOM, ByteStream

PARQUET = {".parquet", ".pq"}
NDJSON = {".ndjson", ".jsonl"}
JSON = ".json"
COMPRESSED = {".gz", ".zst"}
PEEK_BYTES = 1 << 12
DEFAULT_OPTIONS = ReadOptions()


def open_source(path: str, options: ReadOptions = DEFAULT_OPTIONS) -> TableSource:
    """Open a table: Parquet, JSON and NDJSON by their suffixes, everything else as CSV; `-` is standard input.

    CSV, JSON and NDJSON files may have `.gz` or `.zst` after their suffix.

    Raises:
        TableError: the file does not exist, cannot be read, is empty, or has no usable header.
    """
    suffixes = [suffix.lower() for suffix in PurePath(path).suffixes]
    if suffixes and suffixes[-1] in PARQUET:
        return ParquetSource(path)
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSED else ""
    stream = ByteStream(path, compression, options.encoding)
    try:
        suffix = suffixes[-1] if suffixes else ""
        start = first_character(stream) if path == STDIN or suffix in NDJSON else b""
        if suffix == JSON or start == b"[":
            to_lines(stream)
            return NdjsonSource(stream)
        is_ndjson = start == b"{" if path == STDIN else suffix in NDJSON
        return NdjsonSource(stream) if is_ndjson else DelimitedSource(stream, options)
    except BaseException:
        stream.close()
        raise


def first_character(stream: ByteStream) -> bytes:
    """Return the first byte that is not blank, such as the bracket of a JSON list or object."""
    return stream.peek(PEEK_BYTES).removeprefix(BOM).lstrip()[:1]
