"""Bodies that no schema describes, for schemathesis, which reads this file: lines of JSON, Arrow streams, matrices.

A matrix takes no parameters. What cannot be read of an Arrow stream or a matrix is a client's fault, so these are made whole.
"""

from __future__ import annotations

import io
import json

import numpy as np
import polars as pl
import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, HookContext

from tests.tables import normal_rows

MOST = 20  # rows


def tables() -> st.SearchStrategy[pl.DataFrame]:
    """Return tables with the columns of the smallest bundle."""
    return st.builds(lambda rows, seed: normal_rows(rows, seed, holes=0.2), st.integers(1, MOST), st.integers(0, 1000))


def lines(table: pl.DataFrame) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in table.to_dicts())


def stream(table: pl.DataFrame) -> bytes:
    body = io.BytesIO()
    table.write_ipc_stream(body)
    return body.getvalue()


matrices = st.integers(0, MOST).map(lambda rows: np.zeros((rows, 10), "<f8").tobytes())

schemathesis.openapi.media_type("application/x-ndjson", tables().map(lines) | st.binary())
schemathesis.openapi.media_type("application/vnd.apache.arrow.stream", tables().map(stream))
schemathesis.openapi.media_type("application/octet-stream", matrices)


@schemathesis.hook
def filter_case(_context: HookContext, case: Case) -> bool:
    """Leave out reasons for a matrix, and for a series the bodies with the columns of the smallest bundle."""
    if "/presses/" in case.operation.path:
        return case.media_type not in {"application/octet-stream", "application/vnd.apache.arrow.stream"}
    return case.media_type != "application/octet-stream" or not case.query
