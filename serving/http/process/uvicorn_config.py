"""uvicorn, as every socket of ours is listened on: `server` is the one for clients, `inside` the one between workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from starlette.types import ASGIApp
from uvicorn import Config

from serving.http.core.connection import ClientConnection
from serving.http.core.settings import HttpSettings


def uvicorn_config(app: ASGIApp, connection: Callable[..., ClientConnection], settings: HttpSettings, **further: Any) -> Config:  # noqa: ANN401 - uvicorn's
    """Set it up: our connections, no access log, no lifespan, no proxies, no web sockets; `further` are settings of its own."""
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
        **further,
    )
