"""Parquet in constant memory: blocks are spooled beside the output and joined by polars at the end.

A Parquet file cannot be appended to, and a writer that pulls its rows would need a thread of its own, in which Ctrl-C
gets lost. Used by `serving.files.sinks`.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import polars as pl

from detector.errors import OutputError
from serving.files.output import OutputFile, output_errors, temporary_path


class ParquetSink:
    """A Parquet file."""

    def __init__(self, path: str, output: OutputFile) -> None:
        self._path = path
        self._output = output
        self._folder = temporary_path(Path(path))
        self._parts: list[Path] = []

    def add(self, frame: pl.DataFrame) -> None:
        """Spool rows."""
        content = io.BytesIO()  # polars, writing a file itself, does not distinguish a full disk from other errors
        frame.write_ipc(content, compression="lz4")
        part = self._folder / f"{len(self._parts)}.arrow"
        with output_errors(self._path):
            self._folder.mkdir(exist_ok=True)
            part.write_bytes(content.getbuffer())
        self._parts.append(part)

    def flush(self) -> None:
        """Join the spooled rows, and force them to the disk.

        Raises:
            OutputError: the disk is full.
        """
        rows = pl.scan_ipc(self._parts) if self._parts else pl.LazyFrame()
        try:
            rows.sink_parquet(self._output.file, maintain_order=True)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise OutputError(f"cannot write {self._path}: {error}") from error
        self._output.flush()
        self._delete_parts()

    def commit(self) -> None:
        """Make the file appear."""
        self._output.commit()

    def discard(self) -> None:
        """Leave no file behind."""
        self._delete_parts()
        self._output.discard()

    def _delete_parts(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
