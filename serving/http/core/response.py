"""Responses of handlers: complete ones, and ones that are sent while they are produced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import NamedTuple

import msgspec

from serving.http.core.problem_details import ClientGone, HttpProblem
from serving.http.core.request import Header, Request, RequestHead

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


async def until_disconnected(chunks: AsyncGenerator[bytes, None], request: Request) -> AsyncGenerator[bytes, None]:
    """Yield chunks until they end or the client disconnects; call it only after the whole body was read.

    Raises:
        ClientGone: the client has disconnected.
    """
    disconnected = asyncio.ensure_future(request.wait_for_disconnect())
    try:
        while True:
            chunk = asyncio.ensure_future(anext(chunks))
            await asyncio.wait({chunk, disconnected}, return_when=asyncio.FIRST_COMPLETED)
            if not chunk.done():
                chunk.cancel()
                await asyncio.wait({chunk})
                raise ClientGone
            try:
                yield chunk.result()
            except StopAsyncIteration:
                return
    finally:
        disconnected.cancel()
        await chunks.aclose()


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
