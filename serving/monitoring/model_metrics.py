"""Metrics of the models, for Prometheus: the same in the HTTP service and in the stream worker.

`METRICS` and `HISTOGRAMS` are the tables of metrics: the definition of each, and how its value is read from a model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from serving.monitoring.metric_table import MetricDefinition
from serving.monitoring.observed import ObservedModel
from serving.monitoring.rolling import P_VALUE_BUCKETS, SCORE_BUCKETS

MODEL = ("model", "version")

LabelledValues = Mapping[tuple[str, ...], float]  # by the values of the labels behind `MODEL`


class ModelMetric(NamedTuple):
    """A counter or gauge of a model."""

    definition: MetricDefinition
    read: Callable[[ObservedModel], LabelledValues]


class ModelHistogram(NamedTuple):
    """A histogram of a model."""

    definition: MetricDefinition
    read: Callable[[ObservedModel], tuple[np.ndarray, float]]  # the count of each bucket, and the sum


def _if_rows(model: ObservedModel, value: float | None) -> LabelledValues:
    """Return the value of a model that scores single rows; the promises of a series are about stretches, not rows."""
    return {} if value is None or model.scorer.manifest.window else {(): float(value)}


def _by_column(model: ObservedModel, counts: np.ndarray) -> LabelledValues:
    columns = zip(model.scorer.columns, counts.tolist(), strict=True)
    return {(column.name,): float(count) for column, count in columns if count}


METRICS = (
    ModelMetric(
        MetricDefinition("gauge", "residuum_model_info", "An open model.", (*MODEL, "provider", "variant")),
        lambda model: {(model.scorer.graph.provider, model.scorer.manifest.variant): 1.0},
    ),
    ModelMetric(
        MetricDefinition("gauge", "residuum_model_age_seconds", "Time since the model was trained and calibrated.", MODEL),
        lambda model: {(): time.time() - model.statistics.created},
    ),
    ModelMetric(
        MetricDefinition("gauge", "residuum_calibration_rows", "Rows that calibrated the model; absent for a series.", MODEL),
        lambda model: _if_rows(model, model.scorer.calibration_counts.rows),
    ),
    ModelMetric(
        MetricDefinition(
            "gauge", "residuum_calibration_rows_above", "Calibration rows above the threshold; absent for a series.", MODEL
        ),
        lambda model: _if_rows(model, model.scorer.calibration_counts.above),
    ),
    ModelMetric(
        MetricDefinition("counter", "residuum_rows", "Scored rows.", MODEL),
        lambda model: {(): model.statistics.recent.rows},
    ),
    ModelMetric(
        MetricDefinition("counter", "residuum_anomalies", "Rows that were flagged as anomalies.", MODEL),
        lambda model: {(): model.statistics.recent.anomalies},
    ),
    ModelMetric(
        MetricDefinition("counter", "residuum_alarms", "Alarms of a series that began; each lasts for some rows.", MODEL),
        lambda model: {(): model.statistics.recent.alarms} if model.scorer.manifest.window else {},
    ),
    ModelMetric(
        MetricDefinition(
            "counter", "residuum_rejected_rows", "Rows that could not be read, by what was expected.", (*MODEL, "reason")
        ),
        lambda model: {(reason,): count for reason, count in model.statistics.rejected.items()},
    ),
    ModelMetric(
        MetricDefinition("counter", "residuum_missing_cells", "Missing cells.", (*MODEL, "column")),
        lambda model: _by_column(model, model.statistics.missing),
    ),
    ModelMetric(
        MetricDefinition(
            "counter", "residuum_unseen_categories", "Cells with a category that training never saw.", (*MODEL, "column")
        ),
        lambda model: _by_column(model, model.statistics.unseen),
    ),
    ModelMetric(
        MetricDefinition(
            "counter",
            "residuum_unknown_columns",
            "Keys and columns that the model does not read, in the rows that were checked.",
            MODEL,
        ),
        lambda model: {(): model.differences.unknown},
    ),
    ModelMetric(
        MetricDefinition(
            "counter", "residuum_missing_columns", "Rows without a key for a column, among those checked.", (*MODEL, "column")
        ),
        lambda model: {(name,): count for name, count in model.differences.missing.items()},
    ),
    ModelMetric(
        MetricDefinition(
            "gauge", "residuum_alarm_ratio", "Share of anomalies among the latest rows (exponential decay over 2,000).", MODEL
        ),
        lambda model: {(): model.statistics.recent.alarm_ratio},
    ),
    ModelMetric(
        MetricDefinition(
            "gauge",
            "residuum_promised_alarm_ratio",
            "The false-alarm rate that the threshold promises; absent for a series and for a threshold without a promise.",
            MODEL,
        ),
        lambda model: _if_rows(model, model.scorer.manifest.decision.false_alarm_rate),
    ),
    ModelMetric(
        MetricDefinition(
            "gauge",
            "residuum_drift_martingale",
            "Decimal logarithm of the conformal test martingale: 2 is evidence of drift at 1 %; absent for a series.",
            MODEL,
        ),
        lambda model: _if_rows(model, model.statistics.recent.martingale),
    ),
    ModelMetric(
        MetricDefinition(
            "gauge",
            "residuum_column_stability",
            "Population stability index between the latest rows and the first 2,000 since the start.",
            (*MODEL, "column"),
        ),
        lambda model: {(name,): index for name, index in model.statistics.recent.stability.items()},
    ),
)
HISTOGRAMS = (
    ModelHistogram(
        MetricDefinition("histogram", "residuum_score_nats", "Anomaly scores.", MODEL, tuple(SCORE_BUCKETS.tolist())),
        lambda model: (model.statistics.score_counts, model.statistics.score_sum),
    ),
    ModelHistogram(
        MetricDefinition("histogram", "residuum_p_value", "p-values.", MODEL, tuple(P_VALUE_BUCKETS.tolist())),
        lambda model: (model.statistics.p_value_counts, model.statistics.p_value_sum),
    ),
)
DEFINITIONS = tuple(metric.definition for metric in (*METRICS, *HISTOGRAMS))


class ModelMetricsCollector(Collector):
    """Reads the metrics of all open models at each scrape."""

    def __init__(self, models: Callable[[], Sequence[ObservedModel]]) -> None:
        self._models = models

    def describe(self) -> list[Metric]:
        """Return nothing: no metric is reserved beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of every model."""
        models = self._models()
        for model in models:
            model.statistics.flush()
        for definition, read in METRICS:
            family = definition.family()
            for model in models:
                for labels, value in read(model).items():
                    family.add_metric([model.name, str(model.version), *labels], value)
            yield family
        for definition, read_counts in HISTOGRAMS:
            family = definition.family()
            bounds = [*(f"{bound:g}" for bound in definition.buckets[:-1]), "+Inf"]
            for model in models:
                counts, total = read_counts(model)
                buckets = list(zip(bounds, np.cumsum(counts).tolist(), strict=True))
                family.add_metric([model.name, str(model.version)], buckets, total)
            yield family
