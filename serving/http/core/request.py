"""A request: its head, and its body in chunks."""

from __future__ import annotations

from asyncio import Transport
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope

from serving.http.core.content_coding import BodyDecompressor, codings_of
from serving.http.core.problem_details import ClientGone, HttpProblem
from serving.http.core.request_id import request_id

Header = tuple[bytes, bytes]
EXTENSION = "residuum"  # ASGI extension with what requests need of the connection

_NO_PARAMS: Mapping[str, str] = MappingProxyType({})


class RequestHead:
    """A request without its body; the router sets `path_params`."""

    path_params: Mapping[str, str] = _NO_PARAMS

    def __init__(self, method: str, path: str, query: bytes, headers: Iterable[Header]) -> None:
        self.method = method
        self.path = path
        self.headers: dict[bytes, bytes] = dict(headers)
        self.id = request_id(self.headers)
        self.query = query  # after the question mark

    @property
    def content_type(self) -> str:
        """The content type of the body, without parameters."""
        return media_type(self.headers.get(b"content-type", b""))

    @property
    def has_body(self) -> bool:
        """Whether a body follows that is not empty, as far as the head says."""
        return b"transfer-encoding" in self.headers or self.headers.get(b"content-length", b"0") != b"0"

    @property
    def query_params(self) -> dict[str, str]:
        """The query parameters; of a repeated one the last."""
        return dict(parse_qsl(self.query.decode("latin-1"), keep_blank_values=True))


@lru_cache(maxsize=256)
def media_type(content_type: bytes) -> str:
    """Return a content type without its parameters, in lower case."""
    return content_type.partition(b";")[0].strip().lower().decode("latin-1")


class Request(RequestHead):
    """An ASGI request, whose body arrives in chunks."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope["method"], scope["path"], scope["query_string"], scope["headers"])
        self.scope = scope
        self._receive = receive
        self._codings: Sequence[str] = ()
        self._has_begun = False  # to read the body

    @property
    def _transport(self) -> Transport:
        transport: Transport = self.scope["extensions"][EXTENSION]["transport"]
        return transport

    async def body(self, max_bytes: int, count: Callable[[int], None] | None = None) -> bytes:
        """Read the whole body; `count` receives the size of each chunk.

        Raises:
            HttpProblem: it has more than `max_bytes` bytes, decompressed, or cannot be decompressed.
            ClientGone: the client disconnects before its end.
        """
        length = self.headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > max_bytes and not self._codings:
            raise _too_large(max_bytes)
        size, chunks = 0, []
        async for chunk in self.chunks():
            size += len(chunk)
            if size > max_bytes:
                raise _too_large(max_bytes)
            if count:
                count(len(chunk))
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    @property
    def awaits_continue(self) -> bool:
        """Whether the client waits before it sends the body, or may begin at any time: nobody knows what comes next."""
        return not self._has_begun and self.headers.get(b"expect", b"").lower() == b"100-continue"

    def require_codings(self) -> None:
        """Raise unless the codings of the body can be undone.

        Raises:
            HttpProblem: 415 for a content coding, 501 for a transfer coding beside chunked.
        """
        require_chunked(self.scope["headers"])
        self._codings = codings_of(self.scope["headers"])

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, decompressed.

        Raises:
            HttpProblem: it cannot be decompressed.
            ClientGone: the client disconnects before its end.
        """
        if not self._codings:
            async for chunk in self._raw_chunks():
                yield chunk
            return
        decompressor = BodyDecompressor(self._codings)
        async for chunk in self._raw_chunks():
            for piece in decompressor.decompress(chunk):
                yield piece
        decompressor.finish()

    async def _raw_chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it was sent.

        Raises:
            ClientGone: the client disconnects before its end.
        """
        self._has_begun = more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            more = message.get("more_body", False)
            yield message.get("body", b"")

    async def wait_for_disconnect(self) -> None:
        """Wait until the client disconnects; call it only after the whole body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def require_connected(self) -> None:
        """Raise unless the connection is open.

        Raises:
            ClientGone: it is closed or closing.
        """
        if self._transport.is_closing():
            raise ClientGone

    def restart_body_time(self) -> None:
        """Start the time for the body again, for the rest of it."""
        self.scope["extensions"][EXTENSION]["restart_body_time"]()

    def abort(self) -> None:
        """Close the connection at once, and discard what the client has not read."""
        self._transport.abort()


def require_chunked(headers: Iterable[Header]) -> None:
    """Raise if a body has another transfer coding than chunked.

    Raises:
        HttpProblem: it has.
    """
    codings = b", ".join(value.strip() for name, value in headers if name == b"transfer-encoding")
    if codings and codings.lower() != b"chunked":
        detail = "the only Transfer-Encoding that the service reads is chunked"
        found = codings.decode("latin-1")[:80]
        raise HttpProblem(501, "transfer_encoding", detail, path="Transfer-Encoding", found=found, expected="chunked")


def _too_large(max_bytes: int) -> HttpProblem:
    return HttpProblem(413, "body", f"the body has more than {max_bytes:,} bytes", expected=f"at most {max_bytes:,} bytes")
