"""A metrics endpoint on a port of its own, for Prometheus to scrape."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, start_http_server

from detector.errors import SettingError
from serving.log import log


@contextlib.contextmanager
def serve_metrics(host: str, port: int | None, registry: CollectorRegistry, *, is_optional: bool = False) -> Iterator[None]:
    """Serve the metrics on a port within the context; `port` None serves none.

    Raises:
        SettingError: the port is in use; where the metrics are optional, this is logged instead.
    """
    if port is None:
        yield
        return
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        message = f"cannot listen on {host}:{port} for metrics: {error.strerror or error}"
        if not is_optional:
            raise SettingError(message) from error
        log().error("metrics not served", error=message)
        yield
        return
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
