"""A worker's parts, put together: what clients meet, and what is done beside their requests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from serving.http.api.admin import AdminApi
from serving.http.api.live_page import LivePage
from serving.http.api.routes import Routes
from serving.http.api.score import Scoring
from serving.http.api.sessions import Series
from serving.http.core.access_log import AccessLog
from serving.http.core.app import App
from serving.http.core.authentication import TokenAuthentication
from serving.http.core.concurrency import ConcurrencyLimiter
from serving.http.core.connection import ClientConnection, ResponseWriter
from serving.http.core.fast_path import FastPath
from serving.http.core.metrics import HttpMetrics
from serving.http.core.readiness import Readiness
from serving.http.core.settings import HttpSettings
from serving.http.core.timer import repeated
from serving.http.models.registry import ModelRegistry
from serving.http.models.sessions import Sessions
from serving.http.process.aggregator import REPORT_EVERY, Aggregator
from serving.http.process.internal_api import InternalAccessLog, InternalApi, listening
from serving.http.process.worker_report import WorkerReporter
from serving.monitoring.alarms import RecentAlarms

if TYPE_CHECKING:
    from serving.http.process.proxy import Proxy

THREADS = 1


class WorkerIdentity(NamedTuple):
    """Which of several workers a process is."""

    worker: int = 0
    socket: Path | None = None  # on which worker 0 listens to the others, if there are any


class Listener(NamedTuple):
    """What clients meet."""

    app: App
    connection: Callable[..., ClientConnection]


class HttpService:
    """What one worker does."""

    def __init__(self, path: Path, settings: HttpSettings, place: WorkerIdentity) -> None:
        """Open the bundles at a path.

        Raises:
            BundleError: one cannot be trusted.
            SettingError: the device is not there, or the tokens cannot be read.
        """
        self.state = Readiness()
        self.metrics = HttpMetrics(place.worker)
        self.tokens = TokenAuthentication(settings.token_file) if settings.token_file else None
        self.limiter = ConcurrencyLimiter(settings.max_requests, settings.max_queue, THREADS)
        self.models = ModelRegistry(path, settings.device, self.metrics.loaded, settings.shadow_share, settings.max_keys)
        sessions = Sessions(settings.max_keys, settings.session_timeout)
        self.metrics.watch(lambda: self.limiter.active_requests, self.models, sessions)
        self._settings = settings
        self._place = place
        self._alarms = RecentAlarms()
        self._hub = Aggregator(self.models, self._alarms, self.metrics.report_failed, alone=place.socket is None)
        self._forward = _forward(place, self.state, settings)
        self._scoring = Scoring(self.models, self.limiter, self._alarms, settings)
        self._routes = Routes(
            self.models,
            self._scoring,
            self.state,
            self.metrics,
            AdminApi(self.models, self.metrics, self._hub, settings.shadow_share),
            LivePage(self.models, self._hub, self.state),
            Series(sessions, self._scoring, self.limiter, settings),
            forward=self._forward,
            tokens=self.tokens is not None,
        )

    def door(self) -> Listener:
        """Open it to clients."""
        return self._door(AccessLog(self.metrics, self._settings.access_share), self.tokens)

    @contextlib.asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """Do what is done beside requests, as long as the block lasts.

        Raises:
            SettingError: there can be no socket for the other workers.
        """
        async with contextlib.AsyncExitStack() as stack:
            if self._forward:
                await stack.enter_async_context(contextlib.aclosing(self._forward))
                reporter = WorkerReporter(self.models, self._alarms, self._forward.tell, self.metrics.report_failed)
                await stack.enter_async_context(repeated(REPORT_EVERY, reporter.hand_in))
            else:
                await stack.enter_async_context(repeated(REPORT_EVERY, self._settle))
                if self._place.socket:
                    await stack.enter_async_context(self._to_the_others(self._place.socket))
            yield

    def _to_the_others(self, socket: Path) -> contextlib.AbstractAsyncContextManager[None]:
        """Open a door to the other workers, who have looked at tokens, and count requests, themselves."""
        door = self._door(InternalAccessLog(self.metrics, 0.0), None)
        return listening(InternalApi(door.app, self._hub), socket, door.connection, self._settings)

    def _door(self, ledger: AccessLog, tokens: TokenAuthentication | None) -> Listener:
        settings = self._settings
        app = App(self._scoring, self._routes, self.limiter, ledger, tokens, settings)
        shortcut = FastPath(self._scoring, self.limiter, ledger, tokens)
        return Listener(app, partial(ClientConnection, settings, shortcut, ResponseWriter(), ledger.dropped))

    async def _settle(self) -> None:
        self._hub.settle()


def _forward(place: WorkerIdentity, state: Readiness, settings: HttpSettings) -> Proxy | None:
    """Give the way to worker 0, if this is another."""
    if place.socket is None or place.worker == 0:
        return None
    from serving.http.process.proxy import Proxy

    return Proxy(place.socket, state, settings)
