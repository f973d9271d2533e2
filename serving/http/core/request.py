"""A request: its headers, its question, and its body piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from functools import lru_cache

from starlette.types import Receive, Scope

from serving.http.core.problem_details import ClientGone, HttpProblem
from serving.http.core.request_id import request_id
from serving.http.core.response import Header


class RequestHead:
    """What a client asks, but for the body."""

    def __init__(self, method: str, path: str, query: bytes, headers: Iterable[Header]) -> None:
        self.method = method
        self.path = path
        self.headers: dict[bytes, bytes] = dict(headers)
        self.id = request_id(self.headers)
        self.query = query  # behind the question mark

    @property
    def content_type(self) -> str:
        """The body's content type, without parameters."""
        return _plain(self.headers.get(b"content-type", b""))


@lru_cache(maxsize=256)
def _plain(content_type: bytes) -> str:
    return content_type.partition(b";")[0].strip().lower().decode("latin-1")


class Request(RequestHead):
    """A request whose body comes piece by piece, as ASGI has it."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope["method"], scope["path"], scope["query_string"], scope["headers"])
        self._scope = scope
        self._receive = receive

    async def body(self, most: int) -> bytes:
        """Read the body.

        Raises:
            HttpProblem: it has more than `most` bytes.
            ClientGone: it does not come.
        """
        said = self.headers.get(b"content-length", b"")
        if said.isdigit() and int(said) > most:
            raise _too_large(most)
        size, pieces = 0, []
        async for piece in self.chunks():
            size += len(piece)
            if size > most:
                raise _too_large(most)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the body as it comes.

        Raises:
            ClientGone: the client leaves before its end.
        """
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            more = message.get("more_body", False)
            yield message.get("body", b"")

    async def wait_for_disconnect(self) -> None:
        """Wait until the client leaves; only after the whole body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def abort(self) -> None:
        """Drop the connection, and what it has not read."""
        self._scope["extensions"]["residuum"]["abort"]()


def _too_large(most: int) -> HttpProblem:
    return HttpProblem(413, "body", f"the body has more than {most:,} bytes", expected=f"at most {most:,} bytes")
