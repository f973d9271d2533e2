"""What the models say, for Prometheus: the same of every door where rows keep coming."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.model import Model
from serving.monitoring.rolling import P_VALUE_BUCKETS, SCORE_BUCKETS

OF = ("model", "version")


class ModelMetricsCollector(Collector):
    """What the models say, read when it is asked for."""

    def __init__(self, models: Callable[[], Sequence[Model]]) -> None:
        self._models = models

    def describe(self) -> list[Metric]:
        """Name nothing beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read every model's counts."""
        models = self._models()
        for model in models:
            model.statistics.flush()
        yield from _what_they_are(models)
        yield from _what_they_counted(models)
        yield from _whether_rows_still_come_as_they_did(models)
        yield from _how_scores_lie(models)


Labelled = dict[tuple[str, ...], float]


def _what_they_are(models: Sequence[Model]) -> Iterator[Metric]:
    """Tell of the models and what calibrated them."""
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
        lambda model: {(): time.time() - model.statistics.created},
    )
    yield _gauge(
        "residuum_calibration_rows",
        "Rows that calibrated the model; none of a series, where stretches did.",
        (),
        models,
        lambda model: _of_rows(model, model.scorer.standing.rows),
    )
    yield _gauge(
        "residuum_calibration_rows_above",
        "Those of them that the threshold flags.",
        (),
        models,
        lambda model: _of_rows(model, model.scorer.standing.above),
    )


def _what_they_counted(models: Sequence[Model]) -> Iterator[Metric]:
    """Tell of rows, anomalies and cells."""
    yield _counter("residuum_rows", "Rows that were scored.", (), models, lambda model: {(): model.statistics.recent.rows})
    yield _counter(
        "residuum_anomalies", "Rows that were flagged.", (), models, lambda model: {(): model.statistics.recent.anomalies}
    )
    yield _counter(
        "residuum_alarms",
        "Alarms of a series that began; each lasts for some rows.",
        (),
        models,
        lambda model: {(): model.statistics.recent.alarms} if model.scorer.manifest.window else {},
    )
    yield _counter(
        "residuum_rejected_rows",
        "Rows that could not be read, by what was expected.",
        ("reason",),
        models,
        lambda model: {(reason,): count for reason, count in model.statistics.rejected.items()},
    )
    yield _counter(
        "residuum_missing_cells",
        "Cells that were missing.",
        ("column",),
        models,
        lambda model: _by_column(model, model.statistics.missing),
    )
    yield _counter(
        "residuum_unseen_categories",
        "Cells whose category training never saw.",
        ("column",),
        models,
        lambda model: _by_column(model, model.statistics.unseen),
    )


def _whether_rows_still_come_as_they_did(models: Sequence[Model]) -> Iterator[Metric]:
    """Tell of alarms beside the promise, and of drift."""
    yield _gauge(
        "residuum_alarm_ratio",
        "Share of alarms among the latest rows, about 2,000.",
        (),
        models,
        lambda model: {(): model.statistics.recent.alarm_ratio},
    )
    yield _gauge(
        "residuum_promised_alarm_ratio",
        "Share of alarms that the threshold promises at most among normal rows; none of a series.",
        (),
        models,
        lambda model: _of_rows(model, model.scorer.manifest.decision.false_alarm_rate),
    )
    yield _gauge(
        "residuum_drift_martingale",
        "Decimal logarithm of the conformal test martingale: 2 is evidence of drift at 1 %; none of a series.",
        (),
        models,
        lambda model: _of_rows(model, model.statistics.recent.martingale),
    )
    yield _gauge(
        "residuum_column_stability",
        "Population stability index of the latest rows beside the first 2,000 since the start.",
        ("column",),
        models,
        lambda model: {(name,): index for name, index in model.statistics.recent.stability.items()},
    )


def _how_scores_lie(models: Sequence[Model]) -> Iterator[Metric]:
    """Tell of scores and p-values."""
    yield _histogram(
        "residuum_score_nats",
        "Scores.",
        SCORE_BUCKETS,
        models,
        lambda model: (model.statistics.scores, model.statistics.score_sum),
    )
    yield _histogram(
        "residuum_p_value",
        "p-values.",
        P_VALUE_BUCKETS,
        models,
        lambda model: (model.statistics.p_values, model.statistics.p_value_sum),
    )


def _of_rows(model: Model, value: float | None) -> Labelled:
    """Give what is known where rows are judged one by one: what is promised of a series speaks of stretches, not of rows."""
    return {} if value is None or model.scorer.manifest.window else {(): float(value)}


def _by_column(model: Model, counts: np.ndarray) -> Labelled:
    """Give the counts of the columns that have any."""
    columns = model.scorer.columns
    return {(column.name,): float(count) for column, count in zip(columns, counts, strict=True) if count}


def _gauge(name: str, said: str, labels: tuple[str, ...], models: Sequence[Model], read: Callable[[Model], Labelled]) -> Metric:
    """Read a gauge of every model."""
    family = GaugeMetricFamily(name, said, labels=(*OF, *labels))
    return _filled(family, models, read)


def _counter(name: str, said: str, labels: tuple[str, ...], models: Sequence[Model], read: Callable[[Model], Labelled]) -> Metric:
    """Read a counter of every model."""
    family = CounterMetricFamily(name, said, labels=(*OF, *labels))
    return _filled(family, models, read)


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, models: Sequence[Model], read: Callable[[Model], Labelled]
) -> Metric:
    for model in models:
        for labels, value in read(model).items():
            family.add_metric([model.name, str(model.version), *labels], value)
    return family


def _histogram(
    name: str, said: str, buckets: np.ndarray, models: Sequence[Model], read: Callable[[Model], tuple[np.ndarray, float]]
) -> Metric:
    """Read a histogram of every model."""
    family = HistogramMetricFamily(name, said, labels=OF)
    ends = [f"{end:g}" for end in buckets[:-1]] + ["+Inf"]
    for model in models:
        counts, total = read(model)
        family.add_metric([model.name, str(model.version)], list(zip(ends, np.cumsum(counts).tolist(), strict=True)), total)
    return family
