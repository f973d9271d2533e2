"""The HTTP service's own metrics; those of the models and sessions are in `serving.http.models.metrics`."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Info, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from serving.monitoring.log_metrics import LogMetricsCollector
from serving.monitoring.metric_table import MetricDefinition

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
LATENCY = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)  # seconds

REQUESTS = MetricDefinition("counter", "residuum_http_requests", "Answered requests.", ("route", "status"))
DURATION = MetricDefinition(
    "histogram",
    "residuum_http_request_duration_seconds",
    "Time from the head of a request to the end of its response.",
    ("route",),
    LATENCY,
)
IN_FLIGHT = MetricDefinition("gauge", "residuum_http_requests_in_flight", "Requests being answered.")
REFUSED = MetricDefinition("counter", "residuum_http_refused", "Refused requests.", ("reason",))
LOADS = MetricDefinition("counter", "residuum_model_loads", "Bundles that were opened or refused.", ("outcome",))
FEEDBACK = MetricDefinition("counter", "residuum_feedback", "Feedback on verdicts.", ("model", "verdict"))
REPORTS_FAILED = MetricDefinition(
    "counter",
    "residuum_worker_reports_failed",
    "Reports to worker 0 that failed: it was `away` and the report is retried, or it does not have that `version` open.",
    ("reason",),
)
HISTORY_FAILED = MetricDefinition(
    "counter", "residuum_history_failures", "Times that the history of the live page could not be opened or written."
)
DEFINITIONS = (REQUESTS, DURATION, IN_FLIGHT, REFUSED, LOADS, FEEDBACK, REPORTS_FAILED, HISTORY_FAILED)


class HttpMetrics:
    """The metrics of this process; other modules add collectors to `registry`."""

    def __init__(self, worker: int) -> None:
        self.registry = CollectorRegistry()
        Info("residuum_worker", "The worker process of these metrics.", registry=self.registry).info({"worker": str(worker)})
        ProcessCollector(registry=self.registry)
        self.registry.register(LogMetricsCollector())
        requests = _RequestCollector()
        self.registry.register(requests)
        self.count_response = requests.count
        self._in_flight = IN_FLIGHT.gauge(self.registry)
        self._refused = REFUSED.counter(self.registry)
        self._loads = LOADS.counter(self.registry)
        self._feedback = FEEDBACK.counter(self.registry)
        self._reports_failed = REPORTS_FAILED.counter(self.registry)
        self._history_failed = HISTORY_FAILED.counter(self.registry)
        for outcome in ("opened", "refused"):  # so that the first refusal is an increase
            self._loads.labels(outcome)

    def count_refusal(self, reason: str) -> None:
        """Count a refused request."""
        self._refused.labels(reason).inc()

    def count_load(self, outcome: str) -> None:
        """Count a bundle that was `opened` or `refused`."""
        self._loads.labels(outcome).inc()

    def count_failed_report(self, reason: str) -> None:
        """Count a worker report that failed: worker 0 is `away`, or the `version` is not open there."""
        self._reports_failed.labels(reason).inc()

    def count_failed_history(self) -> None:
        """Count a failure of the history."""
        self._history_failed.inc()

    def count_feedback(self, model: str, verdict: str) -> None:
        """Count feedback on a verdict."""
        self._feedback.labels(model, verdict).inc()

    def observe_in_flight(self, count: Callable[[], float]) -> None:
        """Read the number of requests being answered from `count`."""
        self._in_flight.set_function(count)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Latencies:
    """Response times of one route and status."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY) + 1)
        self.seconds = 0.0


class _RequestCollector(Collector):
    """Counts requests by itself, because the library's counters take longer than scoring a small row does."""

    def __init__(self) -> None:
        self._latencies: defaultdict[tuple[str, int], _Latencies] = defaultdict(_Latencies)

    def count(self, route: str, status: int, seconds: float) -> None:
        """Count a response."""
        latencies = self._latencies[route, status]
        latencies.counts[bisect_left(LATENCY, seconds)] += 1
        latencies.seconds += seconds

    def describe(self) -> list[Metric]:
        """Return nothing: no metric is reserved beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the counts."""
        by_label = list(self._latencies.items())
        requests = REQUESTS.family()
        for (route, status), latencies in by_label:
            requests.add_metric([route, str(status)], sum(latencies.counts))
        yield requests
        duration = DURATION.family()
        bounds = [*map(floatToGoString, LATENCY), "+Inf"]
        for route in dict.fromkeys(route for (route, _), _ in by_label):
            of_route = [latencies for (name, _), latencies in by_label if name == route]
            counts = itertools.accumulate(map(sum, zip(*(latencies.counts for latencies in of_route), strict=True)))
            duration.add_metric([route], list(zip(bounds, counts, strict=True)), sum(latencies.seconds for latencies in of_route))
        yield duration
