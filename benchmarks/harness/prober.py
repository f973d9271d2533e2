"""Latency of accepted requests under load: one connection that sends again and again, pausing in between."""

from __future__ import annotations

import http.client
import time
from typing import NamedTuple

PAUSE = 0.005  # seconds between requests


class ProbeResult(NamedTuple):
    """Seconds of each accepted request, and the number of refused ones."""

    seconds: list[float]
    refused: int

    @property
    def p99(self) -> float:
        """The 99th percentile of the accepted requests."""
        return sorted(self.seconds)[int(0.99 * (len(self.seconds) - 1))]


def probe(port: int, path: str, body: bytes, seconds: float) -> ProbeResult:
    """Send requests for a number of seconds.

    Raises:
        RuntimeError: a response was neither 200 nor 429.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    latencies, refused = [], 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        connection.request("POST", path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        response.read()
        if response.status == http.client.OK:
            latencies.append(time.perf_counter() - began)
        elif response.status == http.client.TOO_MANY_REQUESTS:
            refused += 1
        else:
            raise RuntimeError(f"{path} answered {response.status}")
        time.sleep(PAUSE)
    connection.close()
    return ProbeResult(latencies, refused)
