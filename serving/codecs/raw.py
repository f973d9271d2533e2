"""Rows as the graph takes them: little-endian float64[rows, columns], NaN = missing, categories as their codes.

For series these are whole windows, float64[windows, length, columns], each scored on its own; time, key, gaps and alarms
over several windows need rows in another format.

The answer is float64[rows, 3]: score, p-value, and 1 for an anomaly; NaN in all three for a rejected row, or a window that
holds one. Classes and reasons are texts and need another format. GET /v1/models/NAME lists the columns, in order, and their
vocabularies.
"""

from __future__ import annotations

import math

import numpy as np

from detector.batch import MatrixBatch
from detector.verdicts import Verdicts
from serving.codecs.base import BodyError, CodecOptions, WholeBody, check_rows
from serving.model import ServedModel

CONTENT_TYPE = "application/octet-stream"


class RawCodec(WholeBody):
    """Matrices of float64."""

    content_type = CONTENT_TYPE.encode()

    def __init__(self, model: ServedModel, options: CodecOptions) -> None:
        """Decode for a model's graph.

        Raises:
            BodyError: options are set that numbers cannot honour.
        """
        if options != CodecOptions(limits=options.limits):
            raise BodyError(
                422,
                "query",
                "?reasons and ?only are not supported for raw bodies",
                path="?reasons",
                expected="neither, because the answer is numbers",
            )
        self._names = [column.name for column in model.scorer.columns]
        shape = model.scorer.input.shape
        self._shape = shape if len(shape) == 2 else (len(self._names),)  # noqa: PLR2004 - windows of rows
        self._limits = options.limits

    def decode(self, data: bytes, *, final: bool = True) -> MatrixBatch:  # noqa: ARG002 - the body is whole
        """Read a matrix, or windows."""
        size = 8 * math.prod(self._shape)
        if len(data) % size:
            item = "rows" if len(self._shape) == 1 else f"windows, float64[windows, {self._shape[0]}, {self._shape[1]}]"
            found, expected = f"{len(data):,} bytes", f"a multiple of {size}"
            raise BodyError(422, "raw", f"the body is not whole {item}", found=found, expected=expected)
        matrix = np.frombuffer(data, "<f8").reshape(-1, *self._shape)
        check_rows(matrix.size // len(self._names), self._limits)
        return MatrixBatch(matrix, self._names, [])

    def encode(self, verdicts: Verdicts) -> bytes:
        """Write the verdicts."""
        answer = np.full((len(verdicts.accepted), 3), np.nan)
        answer[verdicts.rows] = np.column_stack([verdicts.score, verdicts.p_value, verdicts.is_anomaly])
        return answer.astype("<f8").tobytes()
