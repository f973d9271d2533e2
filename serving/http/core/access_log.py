"""Counts every finished request, and logs a sample of them."""

from __future__ import annotations

import random
import time

from serving.codecs.base import BodyError
from serving.http.core.metrics import HttpMetrics
from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import RequestHead
from serving.http.core.request_id import trace_id
from serving.log import error_fields, log

CLIENT_CLOSED = 499  # the status that nginx logs when a client disconnects before the response


class AccessLog:
    """Counts requests, and logs the share `access_share` of them."""

    def __init__(self, metrics: HttpMetrics, access_share: float) -> None:
        self._metrics = metrics
        self._share = access_share

    def record_error(self, error: Exception, request: RequestHead) -> HttpProblem:
        """Count an error, and return what the client may know of it; an unexpected one is logged."""
        problem = _problem(error, request)
        self._metrics.count_refusal(problem.reason)
        return problem

    def record_dropped(self, reason: str) -> None:
        """Count a connection that the service closed."""
        self._metrics.count_refusal(reason)

    def record_response(self, request: RequestHead, route: str, status: int, began: float) -> None:
        """Count a response, and log it if it is in the sample; `began` is a value of `time.perf_counter`."""
        seconds = time.perf_counter() - began
        self._metrics.count_response(route, status, seconds)
        if self._share > random.random():  # noqa: S311 - a sample, no secret
            self._log(request, route, status, seconds)

    def _log(self, request: RequestHead, route: str, status: int, seconds: float) -> None:
        trace = {"trace_id": found} if (found := trace_id(request.headers)) else {}
        log().info(
            "request",
            request_id=request.id,
            method=request.method,
            path=request.path,
            route=route,
            status=status,
            seconds=round(seconds, 6),
            **trace,
        )


def _problem(error: Exception, request: RequestHead) -> HttpProblem:
    match error:
        case HttpProblem():
            return error
        case BodyError():
            path, found, expected = error.path, error.found, error.expected
            return HttpProblem(error.status, error.reason, error.detail, path=path, found=found, expected=expected)
        case _:
            return _unexpected(error, request)


def _unexpected(error: Exception, request: RequestHead) -> HttpProblem:
    log().error("internal error", request_id=request.id, path=request.path, **error_fields(error))
    return HttpProblem(500, "fault", "internal error; the service's log has details under this request ID")
