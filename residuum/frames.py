"""Conversion between polars and the frames of other libraries (through narwhals) or numpy arrays."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from detector.cells import category_text
from detector.columns import require_columns
from detector.errors import TableError
from detector.manifest import Manifest

ACCEPTED = "pandas, polars and pyarrow frames and arrays [rows, columns] are accepted; call collect() on a LazyFrame first"


def as_polars(rows: Any) -> pl.DataFrame:  # noqa: ANN401 - any frame that narwhals supports, or an array
    """Return any frame or array as a polars frame; the columns of an array are named `x0`, `x1` and so on.

    Raises:
        TableError: the argument is not a frame, two columns have the same name, or the array does not have two dimensions.
    """
    return array_to_polars(rows) if isinstance(rows, np.ndarray) else to_polars(open_frame(rows))


def open_frame(frame: Any) -> nw.DataFrame[Any]:  # noqa: ANN401 - any frame that narwhals supports
    """Return any frame wrapped by narwhals.

    Raises:
        TableError: the argument is not a frame, or two columns have the same name.
    """
    try:
        opened: nw.DataFrame[Any] = nw.from_native(frame, eager_only=True)
        names = [str(name) for name in opened.columns]
    except TypeError as error:
        raise TableError(f"{type(frame).__name__} is not a table: {ACCEPTED}") from error
    except nw.exceptions.DuplicateError as error:
        raise TableError("two columns of the frame have the same name") from error
    if len(set(names)) < len(names):
        raise TableError("two columns of the frame have the same name")
    return opened


def to_polars(frame: nw.DataFrame[Any], only: Container[str] | None = None) -> pl.DataFrame:
    """Return a frame, or the columns `only` of it, as a polars frame; pyarrow is not needed for that."""
    native = frame.to_native()
    if isinstance(native, pl.DataFrame):
        return native
    return pl.DataFrame(
        [_column_to_polars(frame.get_column(name)) for name in frame.columns if only is None or str(name) in only]
    )


def _column_to_polars(series: nw.Series[Any]) -> pl.Series:
    """Return a column as polars: numbers, booleans and dates by their type, everything else as text."""
    name = str(series.name)
    if series.dtype.is_integer() and (values := series.to_numpy()).dtype.kind in "iu":  # no detour through float64
        return pl.Series(name, values)
    if series.dtype.is_numeric():
        return pl.Series(name, series.cast(nw.Float64).to_numpy(), dtype=pl.Float64, nan_to_null=True)
    is_missing = series.is_null().to_list()
    if isinstance(series.dtype, nw.Datetime | nw.Date):
        instants = series.cast(nw.Datetime("us")) if isinstance(series.dtype, nw.Date) else series
        stamps = instants.dt.timestamp("us").to_list()
        micros = [None if missing else int(stamp) for stamp, missing in zip(stamps, is_missing, strict=True)]
        return pl.Series(name, micros, dtype=pl.Int64).cast(pl.Datetime("us"))
    cells = [None if missing else value for value, missing in zip(series.to_list(), is_missing, strict=True)]
    if series.dtype == nw.Boolean:
        return pl.Series(name, cells, dtype=pl.Boolean)
    return pl.Series(name, [_text(cell) for cell in cells], dtype=pl.String)


def _text(value: object) -> str | None:
    """Return a cell of an untyped column as the text that a CSV file would hold."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:  # those of pandas, which need not be installed
        return None
    return str(value).lower() if isinstance(value, bool | np.bool_) else category_text(str(value))


def array_to_polars(array: np.ndarray, names: list[str] | None = None) -> pl.DataFrame:
    """Return an array [rows, columns] as a polars frame with columns `names`, by default `x0`, `x1` and so on.

    Raises:
        TableError: the array does not have two dimensions, or not as many columns as there are names.
    """
    if array.ndim != 2:  # noqa: PLR2004 - rows and columns
        raise TableError(f"an array [rows, columns] is needed; this one has shape {array.shape}")
    names = names or [f"x{index}" for index in range(array.shape[1])]
    if array.shape[1] != len(names):
        raise TableError(f"the array has {array.shape[1]} columns, the detector needs {len(names)}: {', '.join(names)}")
    return pl.DataFrame([_array_column(name, array[:, index]) for index, name in enumerate(names)])


def rows_to_polars(rows: Any, manifest: Manifest) -> pl.DataFrame:  # noqa: ANN401 - any frame that narwhals supports, or an array
    """Return the columns that a detector reads of any frame, or an array of rows or images, as a polars frame.

    Raises:
        TableError: it is neither, lacks a column, or is an array of another shape or of a series.
    """
    window, image = manifest.window, manifest.image
    if not isinstance(rows, np.ndarray):
        frame = open_frame(rows)
        require_columns([str(name) for name in frame.columns], manifest.columns)
        return to_polars(frame, {column.name for column in manifest.columns} | set(window.columns if window else ()))
    if window is not None:
        raise TableError(f"an array has no column {window.time!r} to order a series by: give a frame")
    if image and rows.ndim > 2:  # noqa: PLR2004 - rows and columns
        if rows.shape[1:] not in {image.shape, image.shape[-2:] if image.mode == "grey" else image.shape}:
            raise TableError(f"images of shape {image.shape} are needed; these have shape {rows.shape[1:]}")
        rows = rows.reshape(len(rows), -1)
    return array_to_polars(rows, [column.name for column in manifest.columns])


def _array_column(name: str, values: np.ndarray) -> pl.Series:
    if values.dtype == object:
        return pl.Series(name, [_text(value) for value in values], dtype=pl.String)
    return _column_to_polars(nw.new_series(name, values, backend="polars"))


def like(series: pl.Series, frame: nw.DataFrame[Any]) -> nw.Series[Any]:
    """Return a polars column in the library of `frame`; missing numbers are NaN in pandas, null elsewhere."""
    if series.dtype == pl.Float64:
        values = series.to_numpy() if frame.implementation.is_pandas_like() else series.to_list()
        return nw.new_series(series.name, values, nw.Float64, backend=frame.implementation)
    if series.dtype == pl.Boolean and not series.null_count():
        return nw.new_series(series.name, series.to_numpy(), nw.Boolean, backend=frame.implementation)
    dtype = nw.String if series.dtype == pl.String else None  # numpy, and so pandas, has no missing boolean
    return nw.new_series(series.name, series.to_list(), dtype, backend=frame.implementation)


def new_frame(table: pl.DataFrame, frame: nw.DataFrame[Any]) -> Any:  # noqa: ANN401 - a frame of any library
    """Return a polars frame in the library of `frame`."""
    columns = {series.name: like(series, frame) for series in table}
    return nw.from_dict(columns, backend=frame.implementation).to_native()


def structured_array(frame: pl.DataFrame) -> np.ndarray:
    """Return a polars frame as a structured array, one field per column."""
    return frame.to_numpy(structured=True)
