"""One connection: uvicorn's, which waits for no client longer than it was told to.

uvicorn closes connections that are idle between requests; a client that is slow within one is this module's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from serving.http.problem import Problem
from serving.http.reply import Header
from serving.http.settings import Settings


class _HeaderTooLarge(Exception):
    """The head of a request has too many bytes."""


class Connection(HttpToolsProtocol):
    """A client."""

    def __init__(self, settings: Settings, refused: Callable[[str], None], **uvicorns: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(**uvicorns)
        self._settings = settings
        self._refused = refused
        self._awaited = "head"  # or "body", or nothing
        self._since = self.loop.time()
        self._head = 0  # bytes
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for a head."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        super().connection_lost(exc)
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Take bytes; a request that is not whole is watched."""
        if self._awaited == "head":
            self._head += len(data)
        else:
            self._since = self.loop.time()
        super().data_received(data)
        if self._awaited == "head" and self._head > self._settings.max_header and not self.transport.is_closing():
            self.send_400_response("")
        if self._awaited and (self._timer is None or self._timer.when() > self._due):
            self._watch()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["extensions"] = {"residuum": {"abort": self.transport.abort}}
        self._awaited, self._since, self._line = "head", self.loop.time(), 0

    def on_url(self, url: bytes) -> None:
        """Take a piece of the address."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """Wait for a body."""
        self._awaited, self._head = "body", 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait for nothing: the request is whole."""
        self._awaited = ""
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Let the client read; one that does not is cut off."""
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(self._settings.idle_timeout, self._cut_if_stuck)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request."""
        if max(self._line, self._head) > self._settings.max_header:
            self._refuse(Problem(431, "header", "the head of the request is too large"))
        else:
            self._refuse(Problem(400, "http", msg))

    def _count(self, size: int) -> None:
        self._line += size
        if self._line > self._settings.max_header:
            raise _HeaderTooLarge

    _line = 0

    def _watch(self) -> None:
        """Look again when what is awaited is due."""
        if self._timer:
            self._timer.cancel()
        self._timer = self.loop.call_at(self._due, self._look)

    @property
    def _due(self) -> float:
        settings = self._settings
        return self._since + (settings.header_timeout if self._awaited == "head" else settings.idle_timeout)

    def _look(self) -> None:
        """See whether what is awaited has come."""
        self._timer = None
        if not self._awaited or self.transport.is_closing():
            return
        if self._awaited == "body" and self.flow.read_paused:  # it is we who do not read
            self._since = self.loop.time()
        if self.loop.time() < self._due:
            self._watch()
            return
        what, reason = self._awaited, f"{self._awaited}_timeout"
        self._refuse(Problem(408, reason, f"the {what} of the request did not come in time"))

    def _refuse(self, problem: Problem) -> None:
        """Say why, unless an answer is under way, and close."""
        self._refused(problem.reason)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(_in_bytes(problem, self.server_state.default_headers))
        self.transport.close()

    def _cut_if_stuck(self) -> None:
        if self.transport.get_write_buffer_size():
            self._refused("unread")
            self.transport.abort()


def _in_bytes(problem: Problem, headers: Iterable[Header]) -> bytes:
    """Write an answer without a server's help."""
    reply = problem.reply()
    own = [(b"content-type", reply.content_type), (b"content-length", b"%d" % len(reply.body)), (b"connection", b"close")]
    head = b"".join(b"%b: %b\r\n" % header for header in [*headers, *own])
    return STATUS_LINE[reply.status] + head + b"\r\n" + reply.body
