"""The shape of a metric definition: a module that exports metrics lists them in a table of these.

A process creates the metrics that it counts itself with `counter`, `gauge` and `histogram`. A collector, which reads values
when Prometheus scrapes, fills the `family` of a definition.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily


class MetricDefinition(NamedTuple):
    """One exported metric; the name of a counter stands without its suffix `_total`."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    def counter(self, registry: CollectorRegistry) -> Counter:
        """Create a counter."""
        return Counter(self.name, self.help, self.labels, registry=registry)

    def gauge(self, registry: CollectorRegistry) -> Gauge:
        """Create a gauge."""
        return Gauge(self.name, self.help, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry) -> Histogram:
        """Create a histogram."""
        return Histogram(self.name, self.help, self.labels, registry=registry, buckets=self.buckets)

    def family(self) -> Any:  # noqa: ANN401 - `add_metric` takes a value, or the buckets and the sum of a histogram
        """Return an empty family, for a collector to fill with `add_metric`."""
        match self.kind:
            case "counter":
                return CounterMetricFamily(self.name, self.help, labels=self.labels)
            case "gauge":
                return GaugeMetricFamily(self.name, self.help, labels=self.labels)
            case _:
                return HistogramMetricFamily(self.name, self.help, labels=self.labels)
