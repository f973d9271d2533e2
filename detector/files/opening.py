"""Which reader takes which file: the suffix says it, and for standard input the first byte."""

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
SNIFFED = 1 << 12
AS_WRITTEN = ReadOptions()


def open_source(path: str, options: ReadOptions = AS_WRITTEN) -> TableSource:
    """Open a table: Parquet and NDJSON by their suffixes, everything else as CSV; `-` is standard input.

    CSV and NDJSON may carry `.gz` or `.zst` behind their own suffix.

    Raises:
        TableError: the file is not there, cannot be read, is empty, or has no usable header.
    """
    suffixes = [suffix.lower() for suffix in PurePath(path).suffixes]
    if suffixes and suffixes[-1] in PARQUET:
        return ParquetSource(path)
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSED else ""
    stream = ByteStream(path, compression)
    try:
        objects = holds_objects(stream) if path == STDIN else bool(suffixes) and suffixes[-1] in NDJSON
        return NdjsonSource(stream) if objects else DelimitedSource(stream, options)
    except BaseException:
        stream.close()
        raise


def holds_objects(stream: ByteStream) -> bool:
    """Tell NDJSON from CSV by the first byte that is not blank."""
    return stream.peek(SNIFFED).removeprefix(BOM).lstrip().startswith(b"{")
