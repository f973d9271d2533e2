"""How long accepted requests take while others press: one connection that asks again and again, and waits when it is refused."""

from __future__ import annotations

import http.client
import time
from typing import NamedTuple

PAUSE = 0.005  # seconds between requests


class Probed(NamedTuple):
    """Seconds of each accepted request, and how many were refused."""

    seconds: list[float]
    refused: int

    @property
    def p99(self) -> float:
        """The time that 99 of 100 accepted ones took at most."""
        return sorted(self.seconds)[int(0.99 * (len(self.seconds) - 1))]


def probe(port: int, path: str, body: bytes, seconds: float) -> Probed:
    """Ask for so long."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    taken, refused = [], 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        connection.request("POST", path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status == http.client.OK:
            taken.append(time.perf_counter() - began)
        elif answer.status == http.client.TOO_MANY_REQUESTS:
            refused += 1
        else:
            raise RuntimeError(f"{path} answers {answer.status}")
        time.sleep(PAUSE)
    connection.close()
    return Probed(taken, refused)
