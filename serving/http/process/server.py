"""Serves models over HTTP until a signal arrives."""

from __future__ import annotations

from pathlib import Path

from serving.http.core.settings import HttpSettings
from serving.http.process.sockets import bind
from serving.http.process.supervisor import Supervisor
from serving.http.process.worker import run_worker


def serve(path: Path, settings: HttpSettings) -> None:
    """Serve the bundles at a path until a signal arrives.

    Raises:
        BundleError: a bundle is invalid.
        SettingError: the device or the address is not available.
    """
    if settings.workers > 1:
        Supervisor(path, settings).run()
        return
    with bind(settings) as bound:
        run_worker(path, settings, bound)
