"""One connection: uvicorn's, which waits for no client longer than it was told to, and takes the short way where it can.

uvicorn closes connections that are idle after an answer of its own; all other waiting is this module's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from serving.http.core.fast_path import FastPath, FastPathRequest
from serving.http.core.problem_details import HttpProblem
from serving.http.core.response import Header, Response
from serving.http.core.settings import HttpSettings


class _HeaderTooLarge(Exception):
    """The head of a request has too many bytes."""


class ClientConnection(HttpToolsProtocol):
    """A client."""

    def __init__(
        self,
        settings: HttpSettings,
        shortcut: FastPath,
        heads: ResponseWriter,
        dropped: Callable[[str], None],
        **uvicorns: Any,  # noqa: ANN401 - passed on
    ) -> None:
        super().__init__(**uvicorns)
        self._settings = settings
        self._shortcut = shortcut
        self._heads = heads
        self._refused = dropped
        self._ask: FastPathRequest | None = None  # on the short way
        self._pieces: list[bytes] = []  # of its body
        self._last = False  # whether the connection ends with the answer
        self._awaited = "head"  # or "body", or "next", a request after an answer on the short way, or nothing
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
        if self._ask:
            self._ask.drop()
            self._ask = None

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
        """Begin a request; what only the long way needs is made there."""
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._awaited, self._since, self._line = "head", self.loop.time(), 0

    def on_url(self, url: bytes) -> None:
        """Take a piece of the address."""
        self._line += len(url)
        if self._line > self._settings.max_header:
            raise _HeaderTooLarge
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._line += len(name) + len(value)
        if self._line > self._settings.max_header:
            raise _HeaderTooLarge
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Choose the way, and wait for a body."""
        self._awaited, self._head = "body", 0
        self._ask = self._taken()
        if self._ask is None:
            self._begin_the_long_way()
            super().on_headers_complete()

    def _begin_the_long_way(self) -> None:
        """Let uvicorn begin the request, of which the head is there."""
        url, headers, expecting = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expecting
        self.headers += headers  # the scope has this very list
        self.scope["extensions"] = {"residuum": {"abort": self.transport.abort}}

    def _taken(self) -> FastPathRequest | None:
        """Take the short way if no answer is under way, and none lies unread."""
        cycle: RequestResponseCycle | None = self.cycle
        busy = cycle is not None and not cycle.response_complete
        parser = self.parser
        if busy or self.flow.write_paused or self.expect_100_continue or parser.get_method() != b"POST":
            return None
        if parser.should_upgrade() or parser.get_http_version() != "1.1" or self.transport.is_closing():
            return None
        return self._shortcut.taken(self.url, self.headers)

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        if self._ask is None:
            super().on_body(body)
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        """Answer, on the short way; else wait for nothing: the request is whole."""
        ask, self._ask = self._ask, None
        if ask is None:
            self._awaited = ""
            super().on_message_complete()
            return
        body, self._pieces = b"".join(self._pieces), []
        last = self._last or not self.parser.should_keep_alive()
        reply = ask.answer(body)
        self.transport.write(self._heads.whole(reply, ask.request.id, self.server_state.default_headers, last=last))
        self.server_state.total_requests += 1
        self._awaited, self._since = "next", self.loop.time()
        if last:
            self.transport.close()

    def shutdown(self) -> None:
        """Close after the answer that is under way, or now."""
        if self._ask is None:
            super().shutdown()
        self._last = True

    def on_response_complete(self) -> None:
        """Let the client read; one that does not is cut off."""
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(self._settings.idle_timeout, self._cut_if_stuck)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request."""
        if max(self._line, self._head) > self._settings.max_header:
            self._refuse(HttpProblem(431, "header", "the head of the request is too large"))
        else:
            self._refuse(HttpProblem(400, "http", msg))

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
        if self._awaited == "next":
            self._cut_if_stuck()
            self.transport.close()
            return
        what, reason = self._awaited, f"{self._awaited}_timeout"
        self._refuse(HttpProblem(408, reason, f"the {what} of the request did not come in time"))

    def _refuse(self, problem: HttpProblem) -> None:
        """Say why, unless an answer is under way, and close."""
        self._refused(problem.reason)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(self._heads.whole(problem.reply(), "", self.server_state.default_headers, last=True))
        self.transport.close()
        self.loop.call_later(self._settings.idle_timeout, self.transport.abort)  # if the client does not read even that

    def _cut_if_stuck(self) -> None:
        if self.transport.get_write_buffer_size():
            self._refused("unread")
            self.transport.abort()


class ResponseWriter:
    """Writes answers without a server's help; one for all connections."""

    def __init__(self) -> None:
        self._headers: Sequence[Header] = ()
        self._lines = b""

    def whole(self, reply: Response, request_id: str, headers: Sequence[Header], *, last: bool) -> bytes:
        """Write an answer; `headers` go with every one, `last` is the connection's."""
        if headers is not self._headers:  # uvicorn makes new ones each second, for the date
            self._headers, self._lines = headers, _in_lines(headers)
        more = _in_lines(reply.headers) if reply.headers else b""
        named = b"x-request-id: %b\r\n" % request_id.encode() if request_id else b""
        return b"%b%b%b%b%bcontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (
            STATUS_LINE[reply.status],
            self._lines,
            named,
            more,
            b"connection: close\r\n" if last else b"",
            reply.content_type,
            len(reply.body),
            reply.body,
        )


def _in_lines(headers: Iterable[Header]) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)
