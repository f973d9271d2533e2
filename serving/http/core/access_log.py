"""What is written down of a request when it is over: counts, a line of the log; and what its client may know of an error."""

from __future__ import annotations

import random
import time

from starlette.exceptions import HTTPException

from serving.http.core.metrics import HttpMetrics
from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import RequestHead
from serving.http.core.request_id import trace_id
from serving.log import error_fields, log

LEFT = 499  # as nginx has it: the client went before its answer


class AccessLog:
    """Counts requests and notes some of them down."""

    def __init__(self, metrics: HttpMetrics, access_share: float) -> None:
        self._metrics = metrics
        self._share = access_share

    def refused(self, error: Exception, request: RequestHead) -> HttpProblem:
        """Count a refusal, and say what a client may know of it."""
        problem = _problem(error, request)
        self._metrics.refused(problem.reason)
        return problem

    def dropped(self, reason: str) -> None:
        """Count a client that was dropped."""
        self._metrics.refused(reason)

    def answered(self, request: RequestHead, route: str, status: int, began: float) -> None:
        """Count an answer, and note it down if its turn has come; `began` as `time.perf_counter` had it."""
        seconds = time.perf_counter() - began
        self._metrics.answered(route, status, seconds)
        if self._share > random.random():  # noqa: S311 - a sample, no secret
            self._note(request, route, status, seconds)

    def _note(self, request: RequestHead, route: str, status: int, seconds: float) -> None:
        """Write a line of the access log."""
        more = {"trace_id": found} if (found := trace_id(request.headers)) else {}
        log().info(
            "request",
            request_id=request.id,
            method=request.method,
            path=request.path,
            route=route,
            status=status,
            seconds=round(seconds, 6),
            **more,
        )


def _problem(error: Exception, request: RequestHead) -> HttpProblem:
    """Say what a client may know of an error."""
    match error:
        case HttpProblem():
            return error
        case HTTPException():  # starlette's: no such method here
            headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
            return HttpProblem(error.status_code, "route", error.detail, headers=headers)
        case _:
            log().error("fault", request_id=request.id, path=request.path, **error_fields(error))
            return HttpProblem(500, "fault", "this is a fault of the service; its log says more under the request's id")
