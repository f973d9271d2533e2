"""Errors of a request, in one format: problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import Meta

RETRY_AFTER = (b"retry-after", b"1")  # seconds
STATUS_HEADERS = {401: [(b"www-authenticate", b"Bearer")], 429: [RETRY_AFTER], 503: [RETRY_AFTER]}


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Problem details (RFC 9457)."""

    title: str
    status: int
    detail: str
    path: Annotated[str, Meta(description="Where the error is: JSONPath, or a query parameter.")] = ""
    found: str = ""
    expected: str = ""
    request_id: str = ""
    error: Annotated[str, Meta(description="The detail again, for clients of the Open Inference Protocol.")] = ""


class HttpProblem(Exception):
    """A request that fails; `reason` is its label in the metrics, `headers` are added to the response."""

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        *,
        path: str = "",
        found: str = "",
        expected: str = "",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.headers = [*STATUS_HEADERS.get(status, ()), *headers]
        self.details = ProblemDetails(
            title=HTTPStatus(status).phrase, status=status, detail=detail, path=path, found=found, expected=expected
        )

    @property
    def status(self) -> int:
        """The status of the response."""
        return self.details.status


class ClientGone(Exception):
    """The client has disconnected; no response is needed."""
