"""Metrics on a port of their own."""

import socket
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter

from detector.errors import SettingError
from serving.monitoring.metrics_server import serve_metrics
from tests.ports import free_port


def test_metrics_are_served_within_the_context() -> None:
    registry = CollectorRegistry()
    Counter("rows", "Rows.", registry=registry).inc(3)
    url = f"http://127.0.0.1:{(port := free_port())}/metrics"
    with serve_metrics("127.0.0.1", port, registry), urllib.request.urlopen(url, timeout=10) as response:
        assert "rows_total 3.0" in response.read().decode()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=10)


def test_a_port_in_use_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(SettingError, match=f"cannot listen on 127.0.0.1:{port} for metrics"),
            serve_metrics("127.0.0.1", port, CollectorRegistry()),
        ):
            pass


def test_no_port_serves_nothing() -> None:
    with serve_metrics("127.0.0.1", None, CollectorRegistry()):
        pass
