"""The metrics of models, as Prometheus reads them."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from detector.batch import ColumnDifferences
from detector.rejects import Reject
from detector.scorer import Scorer
from serving.monitoring import model_metrics, shadow
from serving.monitoring.differences import DifferenceCounts
from serving.monitoring.model_metrics import ModelMetricsCollector
from serving.monitoring.rolling import RollingStatistics
from tests.serving.monitoring.conftest import verdicts


def values(scorer: Scorer, statistics: RollingStatistics) -> dict[str, float]:
    """Return the value of each sample, by its name and labels behind model and version."""
    registry = CollectorRegistry()
    differences = DifferenceCounts("pumps", 3)
    differences.add(ColumnDifferences({"temprature": 2, "at ": 1}, {"temperature": 2}))
    model = SimpleNamespace(name="pumps", version=3, scorer=scorer, statistics=statistics, differences=differences)
    registry.register(ModelMetricsCollector(lambda: [model]))
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            assert (sample.labels.pop("model"), sample.labels.pop("version")) == ("pumps", "3")
            found[" ".join([sample.name, *sample.labels.values()])] = sample.value
    return found


def test_every_metric_has_a_value(scorer: Scorer) -> None:
    statistics = RollingStatistics(scorer)
    cells = np.zeros((4, len(scorer.columns)))
    cells[0, 0] = np.nan
    statistics.add(verdicts([0.1, 0.3, 3.0, 5000.0], matrix=cells, rejects=[Reject(9, "x", "hot", "a number")]))
    found = values(scorer, statistics)
    assert found["residuum_rows_total"] == 4
    assert found["residuum_anomalies_total"] == 2
    assert found["residuum_alarm_ratio"] == pytest.approx(0.5)
    assert found["residuum_rejected_rows_total number"] == 1
    assert found[f"residuum_missing_cells_total {scorer.columns[0].name}"] == 1
    assert found["residuum_calibration_rows"] == scorer.calibration_counts.rows
    assert found["residuum_calibration_rows_above"] == scorer.calibration_counts.above
    assert found["residuum_promised_alarm_ratio"] == scorer.manifest.decision.false_alarm_rate
    assert found[f"residuum_model_info CPUExecutionProvider {scorer.manifest.variant}"] == 1
    assert [found[f"residuum_score_nats_bucket {bound}"] for bound in ("0.25", "0.5", "4", "4096", "+Inf")] == [1, 2, 3, 3, 4]
    assert found["residuum_score_nats_sum"] == pytest.approx(5003.4)
    assert found["residuum_p_value_count"] == 4
    assert found["residuum_unknown_columns_total"] == 3
    assert found["residuum_missing_columns_total temperature"] == 2
    assert "residuum_alarms_total" not in found  # of a series only


def test_the_promises_of_rows_are_not_those_of_a_series(scorer: Scorer) -> None:
    manifest = SimpleNamespace(window=object(), variant="dense", decision=scorer.manifest.decision)
    series = SimpleNamespace(
        manifest=manifest, columns=scorer.columns, graph=scorer.graph, calibration_counts=scorer.calibration_counts
    )
    found = values(series, RollingStatistics(scorer))  # type: ignore[arg-type]
    assert found["residuum_alarms_total"] == 0
    assert not {"residuum_calibration_rows", "residuum_promised_alarm_ratio", "residuum_drift_martingale"} & found.keys()


def test_definitions_follow_the_naming_rules() -> None:
    definitions = [*model_metrics.DEFINITIONS, *shadow.DEFINITIONS]
    assert len({definition.name for definition in definitions}) == len(definitions)
    for definition in definitions:
        assert re.fullmatch(r"residuum_[a-z_]+", definition.name)
        assert definition.help.endswith(".")
        assert (definition.kind == "histogram") == bool(definition.buckets)
