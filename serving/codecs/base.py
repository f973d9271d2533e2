"""What a codec does, and what can be wrong with a body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from detector.batch import Batch
from detector.verdicts import Verdicts
from serving.limits import Limits
from serving.model import ServedModel


class CodecOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked for."""

    limits: Limits
    reasons: int = 3  # at most so many for each anomaly
    only_anomalies: bool = False
    heatmap: bool = False  # a picture instead of verdicts
    json_length: bytes = b""  # of the Open Inference Protocol: how many bytes of the body are JSON


class BodyError(Exception):
    """A body that cannot be scored: an HTTP status, a name for metrics, and what was found where."""

    def __init__(self, status: int, reason: str, detail: str, *, path: str = "", found: str = "", expected: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.path = path  # as JSONPath
        self.found = found
        self.expected = expected


class Codec(Protocol):
    """One wire format, for the rows of one exchange. Made by calling its class with a model and the client's options."""

    content_type: bytes  # of the answer
    headers: Sequence[tuple[bytes, bytes]]  # further ones
    is_stream: bool  # whether pieces of a body are decoded as they arrive, and answered

    def decode(self, data: bytes, *, final: bool) -> Batch | None:
        """Return the rows that the next piece of a body completes; None if it completes none.

        `final` is the last piece; it is the whole body where the format is no stream.

        Raises:
            BodyError: the bytes are not of this format, or a limit is exceeded.
        """

    def cells(self, rows: Sequence[int], names: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """Return the named cells of some rows of the latest batch as they were sent; of columns that are there.

        The rows are numbered as in the batch; the columns need not be those of the model.
        """

    def encode(self, verdicts: Verdicts) -> bytes:
        """Return the verdicts on a batch as the next piece of the answer."""

    def finish(self) -> bytes:
        """Return the last piece of the answer."""


class CodecFactory(Protocol):
    """A codec's class."""

    is_stream: bool

    def __call__(self, model: ServedModel, options: CodecOptions) -> Codec:
        """Start an exchange."""


class WholeBody:
    """The parts that all formats share whose bodies and answers are whole."""

    is_stream = False
    headers: Sequence[tuple[bytes, bytes]] = ()

    def cells(self, rows: Sequence[int], names: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """Return no cells: matrices and images have none with a name."""
        del names
        return [{}] * len(rows)

    def finish(self) -> bytes:
        """Return nothing: the answer is whole already."""
        return b""


def check_rows(rows: int, limits: Limits) -> None:
    """Raise unless a body has at most `max_rows` rows.

    Raises:
        BodyError: it has more.
    """
    if rows > limits.max_rows:
        raise BodyError(
            413,
            "rows",
            f"{rows:,} rows in one request; NDJSON may have any number",
            expected=f"at most {limits.max_rows:,} rows",
        )
