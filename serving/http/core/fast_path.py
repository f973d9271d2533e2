"""The short way of a small body of rows: no task, no ASGI; the connection hands the body over and writes what comes back.

It is taken where nothing has to be waited for: the body's length is known and small, the model is open, there is room.
Everything else, faults in the question included, goes the long way (`app`), by the same rules.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from serving.http.api.score import Scoring
from serving.http.core.access_log import LEFT, AccessLog
from serving.http.core.authentication import TokenAuthentication
from serving.http.core.concurrency import MAX_INLINE_BYTES, ConcurrencyLimiter
from serving.http.core.hot_routes import parse_scoring_url
from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import RequestHead
from serving.http.core.response import Header, Response


class FastPathRequest:
    """A request that was let in, and whose body is still to come."""

    __slots__ = ("_began", "_judge", "_ledger", "_limiter", "_route", "request")

    def __init__(
        self, request: RequestHead, route: str, judge: Callable[[bytes], Response], limiter: ConcurrencyLimiter, ledger: AccessLog
    ) -> None:
        self.request = request
        self._route = route
        self._judge = judge
        self._limiter = limiter
        self._ledger = ledger
        self._began = time.perf_counter()

    def answer(self, body: bytes) -> Response:
        """Judge the body, count the request and note it down."""
        try:
            self._limiter.admit_inline()
            reply = self._judge(body)
        except Exception as error:  # noqa: BLE001 - whatever it is, a client learns no more than the ledger says
            reply = self._ledger.refused(error, self.request).reply(self.request.id, in_v2=self._route == "infer")
        finally:  # a panic of polars' is no Exception
            self._limiter.release()
        self._ledger.answered(self.request, self._route, reply.status, self._began)
        return reply

    def drop(self) -> None:
        """End without an answer: the body did not come."""
        self._limiter.release()
        self._ledger.answered(self.request, self._route, LEFT, self._began)


class FastPath:
    """Lets requests take the short way."""

    def __init__(
        self, scoring: Scoring, limiter: ConcurrencyLimiter, ledger: AccessLog, tokens: TokenAuthentication | None
    ) -> None:
        self._scoring = scoring
        self._limiter = limiter
        self._ledger = ledger
        self._tokens = tokens

    def taken(self, url: bytes, headers: Sequence[Header]) -> FastPathRequest | None:
        """Let a POST request in, of which the head is there; None if it has to go the long way."""
        found = parse_scoring_url(url)
        if found is None:
            return None
        request = RequestHead("POST", found.path, found.query, headers)
        length = request.headers.get(b"content-length", b"")
        if not length.isdigit() or int(length) > MAX_INLINE_BYTES:
            return None
        try:
            if self._tokens:
                self._tokens.check(request)
            judge = self._scoring.at_once(request, found.target, int(length))
        except HttpProblem:
            return None
        if judge is None or not self._limiter.try_acquire():
            return None
        return FastPathRequest(request, found.target.route, judge, self._limiter, self._ledger)
