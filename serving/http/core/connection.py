"""One client connection: uvicorn's HTTP protocol, with timeouts for slow clients, limits on heads, and the fast path.

uvicorn closes connections that are idle after a response of its own; all other timeouts are handled here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from serving.http.core.fast_path import FastPath, FastPathRequest
from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import EXTENSION, Header, require_chunked
from serving.http.core.response import Response, problem_response
from serving.http.core.settings import HttpSettings


class _HeaderTooLarge(Exception):
    """The head of a request has too many bytes."""


class _AnyLength(int):
    """The length that uvicorn expects of a response that ends when the connection is closed."""

    def __lt__(self, other: int) -> bool:
        return False

    def __sub__(self, other: int) -> _AnyLength:
        return self

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


class ClientConnection(HttpToolsProtocol):
    """The connection of one client."""

    def __init__(
        self,
        settings: HttpSettings,
        fast_path: FastPath,
        writer: ResponseWriter,
        record_dropped: Callable[[str], None],
        **options: Any,  # noqa: ANN401 - uvicorn's
    ) -> None:
        super().__init__(**options)
        self._settings = settings
        self._fast_path = fast_path
        self._writer = writer
        self._record_dropped = record_dropped
        self._fast_request: FastPathRequest | None = None  # while it takes the fast path
        self._body_chunks: list[bytes] = []  # of the fast request
        self._closes_after_response = False
        # What the timeout is for: part of a request, the next request after a fast response, or nothing.
        self._awaiting: Literal["head", "body", "next request", ""] = "head"
        self._waiting_since = self.loop.time()
        self._body_since = 0.0  # when the time for the body began
        self._body_bytes = 0  # received since then
        self._head_bytes = 0  # received, including bytes that the parser has not yet consumed
        self._parsed_bytes = 0  # of the URL and the headers
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        """Start the timeout for a head."""
        super().connection_made(transport)
        self._waiting_since = self.loop.time()
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeout, and abandon a fast request."""
        super().connection_lost(exc)
        if self._timer:
            self._timer.cancel()
        if self._fast_request:
            self._fast_request.abandon()
            self._fast_request = None

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio declares it
        """Keep the connection until a complete request is answered: the client only says that it sends no more."""
        cycle: RequestResponseCycle | None = self.cycle
        is_answering = not self._awaiting and cycle is not None and not cycle.response_complete
        if not is_answering or self.transport.get_extra_info("sslcontext"):  # TLS cannot be closed by half
            return False
        self.cycle.keep_alive = False
        return True

    def data_received(self, data: bytes) -> None:
        """Parse data, and restart the timeout unless the data belongs to a head."""
        if self._awaiting == "head":
            self._head_bytes += len(data)
        else:
            self._waiting_since = self.loop.time()
        super().data_received(data)
        if self._awaiting == "head" and self._head_bytes > self._settings.max_header and not self.transport.is_closing():
            self.send_400_response("")
        if self._awaiting and (self._timer is None or self._timer.when() > self._deadline):
            self._start_timer()

    def on_message_begin(self) -> None:
        """Begin a request; uvicorn's part of this is done in `_start_app_request`, if at all."""
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._awaiting, self._waiting_since, self._parsed_bytes = "head", self.loop.time(), 0

    def on_url(self, url: bytes) -> None:
        """Receive a part of the URL."""
        self._parsed_bytes += len(url)
        if self._parsed_bytes > self._settings.max_header:
            raise _HeaderTooLarge
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Receive a header."""
        self._parsed_bytes += len(name) + len(value)
        if self._parsed_bytes > self._settings.max_header:
            raise _HeaderTooLarge
        HttpToolsProtocol.on_header(self, name, value)  # quicker than super(), and called for each header

    def on_headers_complete(self) -> None:
        """Start the request on the fast path or in the ASGI app."""
        self._awaiting, self._head_bytes = "body", 0
        self._body_since, self._body_bytes = self.loop.time(), 0
        self._fast_request = self._accept_fast_request()
        if self._fast_request is None:
            is_1_0 = self.parser.get_http_version() == "1.0"
            if is_1_0:  # which has no interim responses
                self.expect_100_continue = False
            self._start_app_request()
            super().on_headers_complete()
            if is_1_0:  # which has no chunks either: a response of unknown length ends by closing
                self.cycle.chunked_encoding, self.cycle.expected_content_length = False, _AnyLength()

    def _start_app_request(self) -> None:
        """Do what uvicorn does at the beginning of a request, now that its head is complete."""
        url, headers, expect_100_continue = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect_100_continue
        self.headers += headers  # in place: the scope holds this list
        self.scope["extensions"] = {EXTENSION: {"transport": self.transport, "restart_body_time": self._restart_body_time}}

    def _accept_fast_request(self) -> FastPathRequest | None:
        """Return a fast request, unless a response is being sent, is unread, or needs more than the fast path does."""
        cycle: RequestResponseCycle | None = self.cycle
        is_busy = cycle is not None and not cycle.response_complete
        parser = self.parser
        if is_busy or self.flow.write_paused or self.expect_100_continue or parser.get_method() != b"POST":
            return None
        if parser.should_upgrade() or parser.get_http_version() != "1.1" or self.transport.is_closing():
            return None
        return self._fast_path.accept(self.url, self.headers)

    def on_body(self, body: bytes) -> None:
        """Receive a chunk of a body."""
        self._body_bytes += len(body)
        if self._fast_request is None:
            super().on_body(body)
        else:
            self._body_chunks.append(body)

    def on_message_complete(self) -> None:
        """Answer a fast request, or pass the end of the body to the ASGI app."""
        request, self._fast_request = self._fast_request, None
        if request is None:
            self._awaiting = ""
            super().on_message_complete()
            return
        body, self._body_chunks = b"".join(self._body_chunks), []
        is_last = self._closes_after_response or not self.parser.should_keep_alive()
        response = request.respond(body)
        default_headers = self.server_state.default_headers
        self.transport.write(self._writer.encode(response, request.head.id, default_headers, is_last=is_last))
        self.server_state.total_requests += 1
        self._awaiting, self._waiting_since = "next request", self.loop.time()
        if is_last:
            self.transport.close()

    def shutdown(self) -> None:
        """Close the connection after the current response, or now if there is none."""
        if self._fast_request is None:
            super().shutdown()
        self._closes_after_response = True

    def on_response_complete(self) -> None:
        """Allow the client `idle_timeout` seconds to read the response."""
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(self._settings.idle_timeout, self._abort_if_unread)

    def send_400_response(self, msg: str) -> None:
        """Refuse data that is no HTTP request, a head that is too large, or a body in an unknown transfer coding."""
        if max(self._parsed_bytes, self._head_bytes) > self._settings.max_header:
            self._refuse(HttpProblem(431, "header", "the head of the request is too large"))
            return
        try:
            require_chunked(self.headers or ())
            self._refuse(HttpProblem(400, "http", msg))
        except HttpProblem as problem:
            self._refuse(problem)

    def _start_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self.loop.call_at(self._deadline, self._check_deadline)

    @property
    def _deadline(self) -> float:
        settings = self._settings
        if self._awaiting == "head":
            return self._waiting_since + settings.header_timeout
        idle = self._waiting_since + settings.idle_timeout
        if self._awaiting != "body":
            return idle
        return min(idle, self._body_since + settings.body_timeout + self._body_bytes / settings.min_body_rate)

    def _restart_body_time(self) -> None:
        self._body_since, self._body_bytes = self.loop.time(), 0

    def _check_deadline(self) -> None:
        """Refuse the request, or close an idle connection, if the deadline has passed."""
        self._timer = None
        if not self._awaiting or self.transport.is_closing():
            return
        if self._awaiting == "body" and self.flow.read_paused:  # the service does not read, so the client is not late
            self._waiting_since = self.loop.time()
            self._restart_body_time()
        if self.loop.time() < self._deadline:
            self._start_timer()
        elif self._awaiting == "next request":
            self._abort_if_unread()
            self.transport.close()
        else:
            self._refuse(
                HttpProblem(408, f"{self._awaiting}_timeout", f"the {self._awaiting} of the request did not arrive in time")
            )

    def _refuse(self, problem: HttpProblem) -> None:
        """Send problem details, unless a response has started, and close the connection."""
        self._record_dropped(problem.reason)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            response = problem_response(problem)
            self.transport.write(self._writer.encode(response, "", self.server_state.default_headers, is_last=True))
        self.transport.close()
        self.loop.call_later(self._settings.idle_timeout, self.transport.abort)  # if the client does not read it

    def _abort_if_unread(self) -> None:
        if self.transport.get_write_buffer_size():
            self._record_dropped("unread")
            self.transport.abort()


class ResponseWriter:
    """Encodes responses that do not pass through ASGI; all connections share one."""

    def __init__(self) -> None:
        self._default_headers: Sequence[Header] = ()
        self._default_lines = b""

    def encode(self, response: Response, request_id: str, default_headers: Sequence[Header], *, is_last: bool) -> bytes:
        """Return the bytes of a response; the connection closes after the last one."""
        if default_headers is not self._default_headers:  # uvicorn replaces them every second, because of the date
            self._default_headers, self._default_lines = default_headers, _header_lines(default_headers)
        own_lines = _header_lines(response.headers) if response.headers else b""
        id_line = b"x-request-id: %b\r\n" % request_id.encode() if request_id else b""
        return b"%b%b%b%b%bcontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (
            STATUS_LINE[response.status],
            self._default_lines,
            id_line,
            own_lines,
            b"connection: close\r\n" if is_last else b"",
            response.content_type,
            len(response.body),
            response.body,
        )


def _header_lines(headers: Iterable[Header]) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)
