"""Shadow versions."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from detector.batch import MatrixBatch, TableBatch
from detector.decision import Decision
from detector.scorer import Scorer
from serving.monitoring import shadow as module
from serving.monitoring.shadow import ShadowMetricsCollector, ShadowModel, missing_columns
from tests.data.make_bundle import write_minimal
from tests.serving.monitoring.conftest import until
from tests.tables import normal_rows

ALWAYS = 1.0


def batch(rows: int) -> TableBatch:
    return TableBatch(normal_rows(rows, seed=5), np.arange(rows), [])


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """The same model with a threshold that every row exceeds."""
    folder = tmp_path_factory.mktemp("strict") / "1"
    write_minimal(folder, decision=Decision(threshold=-1e9, promise="value", criterion="chosen"))
    return Scorer.open(folder, "cpu")


@pytest.fixture
def shadow(scorer: Scorer, strict: Scorer) -> Iterator[ShadowModel]:
    started = ShadowModel("pumps", strict, scorer, ALWAYS)
    yield started
    started.close()


def test_the_same_rows_are_scored_and_compared(scorer: Scorer, shadow: ShadowModel) -> None:
    verdicts = scorer.session().score(batch(40), explain="none", top=0)
    shadow.submit(batch(40), verdicts)
    until(lambda: shadow.comparison.agreement().rows == 40)
    agreement = shadow.comparison.agreement()
    assert agreement.both == verdicts.is_anomaly.sum()
    assert agreement.shadow_alone == 40 - agreement.both
    assert agreement.rank_correlation == pytest.approx(1)


def test_a_share_is_sampled(scorer: Scorer, strict: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter([0.1, 0.9, 0.4, 0.6])
    monkeypatch.setattr(module.random, "random", lambda: next(draws))
    shadow = ShadowModel("pumps", strict, scorer, share=0.5)
    for _ in range(4):
        shadow.submit(batch(1), scorer.session().score(batch(1), explain="none", top=0))
    until(lambda: shadow.comparison.agreement().rows == 2)
    shadow.close()


def test_a_busy_shadow_skips_and_a_failing_one_lives_on(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()

    class Stuck:
        manifest, columns = scorer.manifest, scorer.columns

        def session(self) -> Any:  # noqa: ANN401
            free.wait(30)
            raise RuntimeError("out of memory")

    errors: list[Mapping[str, object]] = []
    monkeypatch.setattr(module, "log", lambda: SimpleNamespace(error=lambda _event, **fields: errors.append(fields)))
    shadow = ShadowModel("pumps", Stuck(), scorer, ALWAYS)  # type: ignore[arg-type]
    verdicts = scorer.session().score(batch(1), explain="none", top=0)
    for _ in range(module.MAX_QUEUED + 5):
        shadow.submit(batch(1), verdicts)
    assert 4 <= shadow.comparison.skipped <= 5  # the thread holds one or none
    free.set()
    until(lambda: shadow.comparison.skipped == module.MAX_QUEUED + 5)
    assert errors[0]["error"] == "RuntimeError"
    shadow.close()


def test_encoded_rows_are_compared_only_if_both_encode_alike(scorer: Scorer, shadow: ShadowModel) -> None:
    matrix = np.zeros((3, len(scorer.columns)))
    encoded = MatrixBatch(matrix, [column.name for column in scorer.columns], [])
    verdicts = scorer.session().score(encoded, explain="none", top=0)
    other = SimpleNamespace(columns=scorer.columns[1:], manifest=scorer.manifest)
    differing = ShadowModel("pumps", other, scorer, ALWAYS)  # type: ignore[arg-type]
    differing.submit(encoded, verdicts)
    shadow.submit(encoded, verdicts)
    until(lambda: shadow.comparison.agreement().rows == 3)
    assert differing.comparison.agreement().rows == differing.comparison.skipped == 0
    differing.close()


def test_a_shadow_needs_no_further_columns(scorer: Scorer) -> None:
    fewer: Any = SimpleNamespace(columns=scorer.columns[1:], manifest=SimpleNamespace(window=None))
    keyed: Any = SimpleNamespace(columns=scorer.columns, manifest=SimpleNamespace(window=SimpleNamespace(columns=("ts", "key"))))
    first = scorer.columns[0]
    assert missing_columns(scorer, scorer) == missing_columns(fewer, scorer) == []
    assert missing_columns(scorer, fewer) == [f"{first.name!r} ({first.kind})"]
    assert missing_columns(keyed, scorer) == ["'key' (of a series)", "'ts' (of a series)"]


def test_the_metrics_name_both_versions(scorer: Scorer, shadow: ShadowModel, tmp_path: Path) -> None:
    del tmp_path
    current: Any = SimpleNamespace(name="pumps", version=7)
    registry = CollectorRegistry()
    registry.register(ShadowMetricsCollector(lambda: [(current, shadow)]))
    shadow.submit(batch(10), scorer.session().score(batch(10), explain="none", top=0))
    until(lambda: shadow.comparison.agreement().rows == 10)
    text = generate_latest(registry).decode()
    labels = f'model="pumps",shadow="{shadow.version}",version="7"'
    for sample in (
        f'residuum_shadow_alarm_ratio{{by="shadow",{labels}}} 1.0',
        f"residuum_shadow_rank_correlation{{{labels}}}",
        f"residuum_shadow_skipped_total{{{labels}}} 0.0",
    ):
        assert sample in text, text
