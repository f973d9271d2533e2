"""The fast path for small bodies: no task and no ASGI; the connection passes the body in and writes the response.

It takes a request if nothing has to be awaited: the length of the body is known and small, and the model is open.
All others, including those with invalid options, go through `app`, under the same rules.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from serving.http.core.access_log import CLIENT_CLOSED, AccessLog
from serving.http.core.authentication import TokenAuthentication, authorise
from serving.http.core.concurrency import MAX_INLINE_BYTES, ConcurrencyLimiter
from serving.http.core.origins import OriginPolicy
from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import Header, RequestHead
from serving.http.core.response import Response, compressed, problem_response
from serving.http.core.routing import RouteTable


class FastPathRequest:
    """An accepted request whose body is still to come."""

    __slots__ = ("_access_log", "_began", "_label", "_limiter", "_score", "head")

    def __init__(
        self,
        head: RequestHead,
        label: str,
        score: Callable[[bytes], Response],
        limiter: ConcurrencyLimiter,
        access_log: AccessLog,
    ) -> None:
        self.head = head
        self._label = label
        self._score = score
        self._limiter = limiter
        self._access_log = access_log
        self._began = time.perf_counter()

    def respond(self, body: bytes) -> Response:
        """Score the body, and record the request."""
        try:
            self._limiter.admit_inline()
            response = compressed(self._score(body), self.head.headers)
        except Exception as error:  # noqa: BLE001 - the access log decides what the client may know
            response = problem_response(self._access_log.record_error(error, self.head), self.head)
        self._access_log.record_response(self.head, self._label, response.status, self._began)
        return response

    def abandon(self) -> None:
        """Record a request whose client disconnected before its body was complete."""
        self._access_log.record_response(self.head, self._label, CLIENT_CLOSED, self._began)


class FastPath:
    """Decides which requests take the fast path."""

    def __init__(
        self,
        routes: RouteTable,
        limiter: ConcurrencyLimiter,
        access_log: AccessLog,
        tokens: TokenAuthentication | None,
        origins: OriginPolicy | None,
        max_body: int,
    ) -> None:
        self._routes = routes
        self._limiter = limiter
        self._access_log = access_log
        self._tokens = tokens
        self._origins = origins
        self._max_bytes = min(MAX_INLINE_BYTES, max_body)

    def accept(self, url: bytes, headers: Sequence[Header]) -> FastPathRequest | None:
        """Accept a POST request after its head, or return None if it needs the ASGI app."""
        found = self._routes.find_inline(url)
        if found is None:
            return None
        head = RequestHead("POST", found.path, found.query, headers)
        head.path_params = found.path_params
        length = head.headers.get(b"content-length", b"")
        if not length.isdigit() or int(length) > self._max_bytes or b"content-encoding" in head.headers:
            return None
        if self._origins and not self._origins.is_plain(head.headers):
            return None
        try:
            authorise(self._tokens, head, found.route.role)
            score = found.handler(head)
        except HttpProblem:
            return None
        if score is None:
            return None
        return FastPathRequest(head, found.route.label, score, self._limiter, self._access_log)
