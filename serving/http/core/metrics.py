"""Metrics for Prometheus: of the service, and of what the models say."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Info, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from serving.http.models.registry import ModelRegistry
from serving.http.models.sessions import Counted, Sessions
from serving.monitoring.model_metrics import ModelMetricsCollector
from serving.monitoring.shadow import ShadowMetricsCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATENCY = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)  # seconds


class HttpMetrics:
    """Everything that is counted in this process."""

    def __init__(self, worker: int) -> None:
        self.registry = CollectorRegistry()
        Info("residuum_worker", "The process that these metrics are of.", registry=self.registry).info({"worker": str(worker)})
        ProcessCollector(registry=self.registry)
        self._requests = _Requests()
        self.registry.register(self._requests)
        self._refused = Counter("residuum_http_refused", "Requests that were refused.", ("reason",), registry=self.registry)
        self._loads = Counter("residuum_model_loads", "Bundles that were opened, or not.", ("outcome",), registry=self.registry)
        self._feedback = Counter(
            "residuum_feedback", "What people said verdicts were worth.", ("model", "verdict"), registry=self.registry
        )
        self._reports = Counter(
            "residuum_worker_reports_failed",
            "Reports to worker 0 that did not arrive and are tried again, or were of a version that is not open there.",
            ("reason",),
            registry=self.registry,
        )
        for outcome in ("opened", "refused"):  # so that the first refusal is an increase
            self._loads.labels(outcome)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.add(route, status, seconds)

    def refused(self, reason: str) -> None:
        """Count a refusal."""
        self._refused.labels(reason).inc()

    def loaded(self, outcome: str) -> None:
        """Count an opened bundle, or one that could not be: `opened` or `refused`."""
        self._loads.labels(outcome).inc()

    def report_failed(self, reason: str) -> None:
        """Count a report that could not be taken: worker 0 is `away`, or the `version` is not open there."""
        self._reports.labels(reason).inc()

    def fed_back(self, model: str, verdict: str) -> None:
        """Count what somebody said of a verdict."""
        self._feedback.labels(model, verdict).inc()

    def watch(self, in_flight: Callable[[], float], models: ModelRegistry, sessions: Sessions) -> None:
        """Read from these what is asked for."""
        gauge = Gauge("residuum_http_requests_in_flight", "Requests being answered.", registry=self.registry)
        gauge.set_function(in_flight)
        self.registry.register(ModelMetricsCollector(models.open_models))
        self.registry.register(ShadowMetricsCollector(models.shadowed))
        self.registry.register(_Serving(models))
        self.registry.register(Counted(sessions))

    def text(self) -> bytes:
        """Write everything down for Prometheus."""
        return generate_latest(self.registry)


class _Tally:
    """Requests of one route that got one status, by how long they took."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY) + 1)
        self.seconds = 0.0


class _Requests(Collector):
    """Requests and their latency: counted here, because the library's own counters take longer than a small row does."""

    def __init__(self) -> None:
        self._tallies: defaultdict[tuple[str, int], _Tally] = defaultdict(_Tally)

    def add(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        tally = self._tallies[route, status]
        tally.counts[bisect_left(LATENCY, seconds)] += 1
        tally.seconds += seconds

    def describe(self) -> list[Metric]:
        """Name nothing beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give the counts."""
        tallies = list(self._tallies.items())
        requests = CounterMetricFamily("residuum_http_requests", "Requests that were answered.", labels=("route", "status"))
        for (route, status), tally in tallies:
            requests.add_metric([route, str(status)], sum(tally.counts))
        yield requests
        latency = HistogramMetricFamily(
            "residuum_http_request_duration_seconds", "Time from a request's head to the end of its answer.", labels=("route",)
        )
        ends = [*map(floatToGoString, LATENCY), "+Inf"]
        for route in dict.fromkeys(route for (route, _), _ in tallies):
            some = [tally for (name, _), tally in tallies if name == route]
            counts = itertools.accumulate(map(sum, zip(*(tally.counts for tally in some), strict=True)))
            latency.add_metric([route], list(zip(ends, counts, strict=True)), sum(tally.seconds for tally in some))
        yield latency


class _Serving(Collector):
    """Which version of each name answers, read when it is asked for."""

    def __init__(self, models: ModelRegistry) -> None:
        self._models = models

    def describe(self) -> list[Metric]:
        """Name nothing beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Name the versions."""
        serving = GaugeMetricFamily("residuum_model_serving", "The version that answers.", labels=("model", "version"))
        for model in self._models.current_models():
            serving.add_metric([model.name, str(model.version)], 1.0)
        yield serving
