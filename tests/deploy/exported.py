"""The exported metrics, and the metrics that an expression uses."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import serving.stream.metrics as stream
from serving.http.core.metrics import HttpMetrics
from serving.http.models.metrics import register_model_metrics
from serving.http.models.registry import ModelRegistry
from serving.http.models.sessions import SessionStore
from tests.serving.http.loads import write

SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}


def exported() -> set[str]:
    """Return the name of every series of the service and of the stream worker."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), 1)
        metrics = HttpMetrics(0)
        register_model_metrics(metrics.registry, ModelRegistry(Path(folder), "cpu", metrics.count_load), SessionStore(1, 1.0))
        texts = [metrics.text(), generate_latest(stream.StreamMetrics(list).registry)]
    families = [family for text in texts for family in text_string_to_metric_families(text.decode())]
    return {family.name + suffix for family in families for suffix in SUFFIXES.get(family.type, [""])}


def metrics_in(expression: str) -> set[str]:
    """Return the project's exported metrics in an expression; recorded ones have colons."""
    return {name for name in re.findall(r"[a-z_][a-z0-9_:]*", expression) if name.startswith("residuum_")}
