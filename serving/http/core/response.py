"""Responses of handlers: complete ones, and ones that are sent while they are produced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from serving.http.core.content_coding import MIN_BYTES, StreamCompressor, response_coding
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


def compressed(response: Response, request_headers: Mapping[bytes, bytes]) -> Response:
    """Return a response compressed, if the client accepts that and it is worth it."""
    accept_encoding = request_headers.get(b"accept-encoding")
    if not accept_encoding or len(response.body) < MIN_BYTES:
        return response
    coding = response_coding(response.body, response.content_type, response.headers, accept_encoding)
    if not coding:
        return response
    body = StreamCompressor(coding).finish(response.body)
    if len(body) >= len(response.body):
        return response
    return response._replace(body=body, headers=[*response.headers, (b"content-encoding", coding.encode())])


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
