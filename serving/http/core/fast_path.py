"""The short way of a small body of rows: no task, no ASGI; the connection hands the body over and writes what comes back.

It is taken where nothing has to be waited for: the body's length is known and small, the model is open, there is room.
Everything else, faults in the question included, goes the long way (`app`), by the same rules.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from serving.http.api.score import Scoring
from serving.http.core.access_log import LEFT, Ledger
from serving.http.core.authentication import Tokens
from serving.http.core.concurrency import AT_ONCE, Gate
from serving.http.core.hot_routes import address
from serving.http.core.problem_details import Problem
from serving.http.core.request import Request
from serving.http.core.response import Header, Reply


class Ask:
    """A request that was let in, and whose body is still to come."""

    __slots__ = ("_began", "_gate", "_judge", "_ledger", "_route", "request")

    def __init__(self, request: Request, route: str, judge: Callable[[bytes], Reply], gate: Gate, ledger: Ledger) -> None:
        self.request = request
        self._route = route
        self._judge = judge
        self._gate = gate
        self._ledger = ledger
        self._began = time.perf_counter()

    def answer(self, body: bytes) -> Reply:
        """Judge the body, count the request and note it down."""
        try:
            self._gate.take_turn()
            reply = self._judge(body)
        except Exception as error:  # noqa: BLE001 - whatever it is, a client learns no more than the ledger says
            reply = self._ledger.refused(error, self.request).reply(self.request.id, in_v2=self._route == "infer")
        finally:  # a panic of polars' is no Exception
            self._gate.leave()
        self._ledger.answered(self.request, self._route, reply.status, self._began)
        return reply

    def drop(self) -> None:
        """End without an answer: the body did not come."""
        self._gate.leave()
        self._ledger.answered(self.request, self._route, LEFT, self._began)


class Shortcut:
    """Lets requests take the short way."""

    def __init__(self, scoring: Scoring, gate: Gate, ledger: Ledger, tokens: Tokens | None) -> None:
        self._scoring = scoring
        self._gate = gate
        self._ledger = ledger
        self._tokens = tokens

    def taken(self, url: bytes, headers: Sequence[Header]) -> Ask | None:
        """Let a POST request in, of which the head is there; None if it has to go the long way."""
        found = address(url)
        if found is None:
            return None
        request = Request("POST", found.path, found.query, headers)
        length = request.headers.get(b"content-length", b"")
        if not length.isdigit() or int(length) > AT_ONCE:
            return None
        try:
            if self._tokens:
                self._tokens.check(request)
            judge = self._scoring.at_once(request, found.target, int(length))
        except Problem:
            return None
        if judge is None or not self._gate.enter():
            return None
        return Ask(request, found.target.route, judge, self._gate, self._ledger)
