"""What goes wrong with a request, in one shape: problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import msgspec

from serving.http.core.response import Header, Response

RETRY = (b"retry-after", b"1")  # seconds
HEADERS = {401: [(b"www-authenticate", b"Bearer")], 429: [RETRY], 503: [RETRY]}


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of an answer that says what went wrong; `path` is where, as JSONPath."""

    title: str
    status: int
    detail: str
    path: str = ""
    found: str = ""
    expected: str = ""
    request_id: str = ""
    error: str = ""  # the detail again, where clients of the Open Inference Protocol look for it


class HttpProblem(Exception):
    """A request that is not answered; `reason` is its name in the metrics, `headers` go with the answer."""

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        *,
        path: str = "",
        found: str = "",
        expected: str = "",
        headers: Sequence[Header] = (),
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self._headers = headers
        self.details = ProblemDetails(
            title=HTTPStatus(status).phrase, status=status, detail=detail, path=path, found=found, expected=expected
        )

    @property
    def status(self) -> int:
        """The status of the answer."""
        return self.details.status

    def reply(self, request_id: str = "", *, in_v2: bool = False) -> Response:
        """Give the answer."""
        error = self.details.detail if in_v2 else ""
        body = msgspec.json.encode(msgspec.structs.replace(self.details, request_id=request_id, error=error))
        headers = [*HEADERS.get(self.status, ()), *self._headers]
        return Response(body, b"application/problem+json", self.status, headers)


class ClientGone(Exception):
    """The client has left: nobody waits for an answer."""
