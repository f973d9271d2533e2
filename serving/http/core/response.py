"""Responses of handlers: complete ones, and ones that are sent while they are produced."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import NamedTuple

import msgspec

from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import Header, RequestHead

JSON = b"application/json"
PROBLEM_JSON = b"application/problem+json"


class Response(NamedTuple):
    """A complete response."""

    body: bytes
    content_type: bytes = JSON
    status: int = 200
    headers: Sequence[Header] = ()


class StreamedResponse(NamedTuple):
    """A response that is sent chunk by chunk.

    `encode_error` encodes the last chunk of a response that an error cuts short; without it the connection is closed.
    A forwarded response has its content type among its headers.
    """

    chunks: AsyncGenerator[bytes, None]
    content_type: bytes = JSON
    status: int = 200
    headers: Sequence[Header] = ()
    encode_error: Callable[[HttpProblem, str], bytes] | None = None


AnyResponse = Response | StreamedResponse


def json_response(value: object) -> Response:
    """Return a value as JSON."""
    return Response(msgspec.json.encode(value))


def problem_response(problem: HttpProblem, request: RequestHead | None = None) -> Response:
    """Return problem details; for clients of the Open Inference Protocol with the field `error` that they read."""
    details = problem.details
    if request is not None:
        error = details.detail if request.path.startswith("/v2") else ""
        details = msgspec.structs.replace(details, request_id=request.id, error=error)
    return Response(msgspec.json.encode(details), PROBLEM_JSON, details.status, problem.headers)
