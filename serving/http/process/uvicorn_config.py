"""The configuration of uvicorn that the socket for clients and the one between workers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from starlette.types import ASGIApp
from uvicorn import Config

from serving.http.core.connection import ClientConnection
from serving.http.core.settings import HttpSettings


def uvicorn_config(
    app: ASGIApp,
    connection: Callable[..., ClientConnection],
    settings: HttpSettings,
    **options: Any,  # noqa: ANN401 - uvicorn's
) -> Config:
    """Return a configuration with our connections, and without access log, lifespan, proxy headers and web sockets."""
    return Config(
        app,
        http=cast("Any", connection),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=int(settings.idle_timeout) or 1,
        **options,
    )
