"""Rows as the graph takes them: little-endian float64[rows, columns], NaN = missing, categories as their codes.

Of a series they are whole windows, float64[windows, length, columns], each judged for itself: time, key, gaps and alarms over
several windows are of rows in the other forms.

The answer is float64[rows, 3]: score, p-value, and 1 for an anomaly; NaN in all three for a rejected row, or for a window that
holds one. Classes and reasons are texts and come in the other forms. The columns, in order, and their vocabularies are in
GET /v1/models/NAME.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detector.columns import EXPECTED, Column, Encoded
from detector.rejects import Reject
from serving.http.core.problem_details import HttpProblem
from serving.model import Judged

STREAM = "application/octet-stream"


def read(body: bytes, columns: Sequence[Column], length: int | None = None) -> Encoded:
    """Read a matrix, or windows of `length` rows; a row with a code that is none is rejected, an infinity is missing.

    Raises:
        HttpProblem: the bytes are not whole rows, or not whole windows.
    """
    width, what = 8 * len(columns), "rows"
    if length is not None:
        width, what = width * length, f"windows, float64[windows, {length}, {len(columns)}]"
    if len(body) % width:
        raise HttpProblem(
            422, "raw", f"the body is not whole {what}", found=f"{len(body):,} bytes", expected=f"a multiple of {width}"
        )
    matrix = np.frombuffer(body, "<f8").reshape(-1, len(columns))
    infinite = np.isinf(matrix)
    count = int(np.count_nonzero(infinite))
    if count:
        matrix = np.where(infinite, np.nan, matrix)
    fault = np.full(len(matrix), -1)
    for place, column in enumerate(columns):
        if column.kind in {"category", "boolean"}:
            fault[(fault < 0) & ~_possible(column, matrix[:, place])] = place
    accepted = fault < 0
    if accepted.all():
        return Encoded(matrix, accepted, [], count)
    rejects = [
        Reject(int(at), columns[fault[at]].name, f"{matrix[at, fault[at]]:g}", EXPECTED[columns[fault[at]].kind])
        for at in np.flatnonzero(~accepted)
    ]
    return Encoded(matrix[accepted], accepted, rejects, count)


def write(judged: Judged, rows: int) -> bytes:
    """Write the verdicts on so many rows."""
    said = np.full((rows, 3), np.nan)
    verdicts = judged.verdicts
    said[judged.rows] = np.column_stack([verdicts.score, verdicts.p_value, verdicts.is_anomaly])
    return said.astype("<f8").tobytes()


def _possible(column: Column, cells: np.ndarray) -> np.ndarray:
    """Tell which cells a category or a boolean can hold."""
    highest = column.unseen if column.kind == "category" else 1
    possible: np.ndarray = np.isnan(cells) | ((cells >= 0) & (cells <= highest) & (cells == np.floor(cells)))
    return possible
