"""Metrics for Prometheus: of the service, and of what the models say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.http.model import Model
from serving.http.watch import P_VALUE_BUCKETS, SCORE_BUCKETS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATENCY = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)  # seconds
OF = ("model", "version")


class Metrics:
    """Everything that is counted in this process."""

    def __init__(self, worker: int) -> None:
        self.registry = CollectorRegistry()
        Info("residuum_worker", "The process that these metrics are of.", registry=self.registry).info({"worker": str(worker)})
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "residuum_http_requests", "Requests that were answered.", ("route", "status"), registry=self.registry
        )
        self._latency = Histogram(
            "residuum_http_request_duration_seconds",
            "Time from a request's head to the end of its answer.",
            ("route",),
            buckets=LATENCY,
            registry=self.registry,
        )
        self._refused = Counter("residuum_http_refused", "Requests that were refused.", ("reason",), registry=self.registry)
        self._loads = Counter("residuum_model_loads", "Bundles that were opened, or not.", ("outcome",), registry=self.registry)
        self._ready = cache(lambda route, status: (self._requests.labels(route, status), self._latency.labels(route)))

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        requests, latency = self._ready(route, status)
        requests.inc()
        latency.observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a refusal."""
        self._refused.labels(reason).inc()

    def loaded(self, outcome: str) -> None:
        """Count an opened bundle, or one that could not be: `opened` or `refused`."""
        self._loads.labels(outcome).inc()

    def watch(self, in_flight: Callable[[], float], models: Callable[[], list[Model]]) -> None:
        """Read from these what is asked for."""
        gauge = Gauge("residuum_http_requests_in_flight", "Requests being answered.", registry=self.registry)
        gauge.set_function(in_flight)
        self.registry.register(_Detection(models))

    def text(self) -> bytes:
        """Write everything down for Prometheus."""
        return generate_latest(self.registry)


class _Detection(Collector):
    """What the models say."""

    def __init__(self, models: Callable[[], list[Model]]) -> None:
        self._models = models

    def describe(self) -> list[Metric]:
        """Name nothing beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read every model's counts."""
        models = self._models()
        for model in models:
            model.watch.settle()
        yield _gauge(
            "residuum_model_info",
            "A model that is open.",
            ("provider", "variant"),
            models,
            lambda model: {(model.scorer.graph.provider, model.scorer.manifest.variant): 1.0},
        )
        yield _gauge(
            "residuum_model_age_seconds",
            "Time since training, and calibration with it.",
            (),
            models,
            lambda model: {(): time.time() - model.watch.created},
        )
        yield _counter("residuum_rows", "Rows that were scored.", (), models, lambda model: {(): model.watch.rows})
        yield _counter("residuum_anomalies", "Rows that were flagged.", (), models, lambda model: {(): model.watch.anomalies})
        yield _counter(
            "residuum_rejected_rows",
            "Rows that could not be read, by what was expected.",
            ("reason",),
            models,
            lambda model: {(reason,): count for reason, count in model.watch.rejected.items()},
        )
        yield _counter(
            "residuum_missing_cells",
            "Cells that were missing.",
            ("column",),
            models,
            lambda model: _by_column(model, model.watch.missing),
        )
        yield _counter(
            "residuum_unseen_categories",
            "Cells whose category training never saw.",
            ("column",),
            models,
            lambda model: _by_column(model, model.watch.unseen),
        )
        yield _gauge(
            "residuum_alarm_ratio",
            "Share of alarms among the latest rows, about 2,000.",
            (),
            models,
            lambda model: {(): model.watch.alarm_ratio},
        )
        yield _gauge(
            "residuum_promised_alarm_ratio",
            "Share of alarms that the threshold promises at most among normal rows.",
            (),
            models,
            lambda model: {(): rate} if (rate := model.scorer.manifest.decision.false_alarm_rate) else {},
        )
        yield _gauge(
            "residuum_drift_martingale",
            "Decimal logarithm of the conformal test martingale: 2 is evidence of drift at 1 %.",
            (),
            models,
            lambda model: {(): model.watch.martingale},
        )
        yield _gauge(
            "residuum_column_stability",
            "Population stability index of the latest rows beside the first 2,000 since the start.",
            ("column",),
            models,
            lambda model: {(name,): index for name, index in model.watch.stability.items()},
        )
        yield _histogram(
            "residuum_score_nats", "Scores.", SCORE_BUCKETS, models, lambda model: (model.watch.scores, model.watch.score_sum)
        )
        yield _histogram(
            "residuum_p_value",
            "p-values.",
            P_VALUE_BUCKETS,
            models,
            lambda model: (model.watch.p_values, model.watch.p_value_sum),
        )


Labelled = dict[tuple[str, ...], float]


def _by_column(model: Model, counts: np.ndarray) -> Labelled:
    """Give the counts of the columns that have any."""
    return {(name,): float(count) for name, count in zip(model.columns, counts, strict=True) if count}


def _gauge(name: str, said: str, labels: tuple[str, ...], models: list[Model], read: Callable[[Model], Labelled]) -> Metric:
    """Read a gauge of every model."""
    family = GaugeMetricFamily(name, said, labels=(*OF, *labels))
    return _filled(family, models, read)


def _counter(name: str, said: str, labels: tuple[str, ...], models: list[Model], read: Callable[[Model], Labelled]) -> Metric:
    """Read a counter of every model."""
    family = CounterMetricFamily(name, said, labels=(*OF, *labels))
    return _filled(family, models, read)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, models: list[Model], read: Callable[[Model], Labelled]) -> Metric:
    for model in models:
        for labels, value in read(model).items():
            family.add_metric([model.name, str(model.version), *labels], value)
    return family


def _histogram(
    name: str, said: str, buckets: np.ndarray, models: list[Model], read: Callable[[Model], tuple[np.ndarray, float]]
) -> Metric:
    """Read a histogram of every model."""
    family = HistogramMetricFamily(name, said, labels=OF)
    ends = [f"{end:g}" for end in buckets[:-1]] + ["+Inf"]
    for model in models:
        counts, total = read(model)
        family.add_metric([model.name, str(model.version)], list(zip(ends, np.cumsum(counts).tolist(), strict=True)), total)
    return family
