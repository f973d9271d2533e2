"""The socket that clients connect to: bound here, whether one worker listens on it or several share its port; and its URL."""

from __future__ import annotations

import socket

from detector.errors import SettingError
from serving.http.core.settings import HttpSettings


def bind(settings: HttpSettings, *, shared: bool = False) -> socket.socket:
    """Bind the address of the service; a `shared` port can be bound by several workers.

    Raises:
        SettingError: the address is not available.
    """
    bound = socket.socket(_family(settings.host), socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((settings.host, settings.port))
    except OSError as error:
        bound.close()
        address = f"{settings.host}:{settings.port}"
        raise SettingError(f"cannot listen on {address}: {error.strerror or error}; choose another --host or --port") from error
    return bound


def url(bound: socket.socket, settings: HttpSettings) -> str:
    """Return the URL of the service."""
    host, port = bound.getsockname()[:2]
    scheme = "https" if settings.tls_certificate else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
