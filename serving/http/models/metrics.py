"""Metrics of the models that are open."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from serving.http.models.registry import ModelRegistry
from serving.http.models.sessions import SessionMetricsCollector, SessionStore
from serving.monitoring.metric_table import MetricDefinition
from serving.monitoring.model_metrics import ModelMetricsCollector
from serving.monitoring.shadow import ShadowMetricsCollector

SERVING = MetricDefinition("gauge", "residuum_model_serving", "The version that answers.", ("model", "version"))


def register_model_metrics(metrics: CollectorRegistry, models: ModelRegistry, sessions: SessionStore) -> None:
    """Register the metrics of the models, their shadows and their sessions."""
    metrics.register(ModelMetricsCollector(models.open_models))
    metrics.register(ShadowMetricsCollector(models.shadowed))
    metrics.register(_ServingCollector(models))
    metrics.register(SessionMetricsCollector(sessions))


class _ServingCollector(Collector):
    """Reads which version of each name answers."""

    def __init__(self, models: ModelRegistry) -> None:
        self._models = models

    def describe(self) -> list[Metric]:
        """Return nothing: no metric is reserved beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the versions."""
        serving = SERVING.family()
        for model in self._models.current_models():
            serving.add_metric([model.name, str(model.version)], 1.0)
        yield serving
