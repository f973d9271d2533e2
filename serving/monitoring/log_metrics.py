"""The metric of the log, for Prometheus: the same in the HTTP service and in the stream worker."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from serving.monitoring.metric_table import MetricDefinition
from serving.standard_error import lost_lines

LOST_LINES = MetricDefinition(
    "counter", "residuum_log_lines_lost", "Lines of the log that could not be written, or that nobody read in time."
)
DEFINITIONS = (LOST_LINES,)


class LogMetricsCollector(Collector):
    """Reads the number of lost lines at each scrape."""

    def describe(self) -> list[Metric]:
        """Return nothing: no metric is reserved beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the number."""
        lost = LOST_LINES.family()
        lost.add_metric([], lost_lines.count)
        yield lost
