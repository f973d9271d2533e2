"""The objects of one worker, put together: the API for clients, and the tasks in the background."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from starlette.types import ASGIApp

from serving.http.api.admin import AdminApi
from serving.http.api.history import HistoryApi
from serving.http.api.live_page import LivePage
from serving.http.api.routes import Apis, build_routes
from serving.http.api.score import ScoringApi
from serving.http.api.sessions import SessionsApi
from serving.http.core.access_log import AccessLog
from serving.http.core.app import App
from serving.http.core.authentication import TokenAuthentication
from serving.http.core.concurrency import ConcurrencyLimiter
from serving.http.core.connection import ClientConnection, ResponseWriter
from serving.http.core.fast_path import FastPath
from serving.http.core.metrics import HttpMetrics
from serving.http.core.origins import AllowedHosts, OriginPolicy, with_cors
from serving.http.core.readiness import Readiness
from serving.http.core.settings import HttpSettings
from serving.http.core.timer import repeated
from serving.http.models.aggregator import REPORT_INTERVAL, Aggregator
from serving.http.models.history import WRITE_INTERVAL, History
from serving.http.models.metrics import register_model_metrics
from serving.http.models.registry import ModelRegistry
from serving.http.models.sessions import SessionStore
from serving.http.models.worker_report import WorkerReporter
from serving.http.process.internal_api import InternalAccessLog, InternalApi, serve_internal_api
from serving.monitoring.alarms import RecentAlarms

if TYPE_CHECKING:
    from serving.http.process.proxy import Proxy

SCORING_THREADS = 1


class WorkerIdentity(NamedTuple):
    """Which of the workers a process is."""

    worker: int = 0
    socket: Path | None = None  # of worker 0's internal API, if there are several workers
    is_restart: bool = False  # takes the place of a worker that died


class Listener(NamedTuple):
    """What uvicorn needs for a socket: the ASGI app, and what creates a connection."""

    app: ASGIApp
    connection: Callable[..., ClientConnection]


class HttpService:
    """The objects of one worker."""

    def __init__(self, path: Path, settings: HttpSettings, identity: WorkerIdentity) -> None:
        """Open the bundles at a path.

        Raises:
            BundleError: a bundle is invalid.
            SettingError: the device is not available, or the tokens cannot be read.
        """
        self.readiness = Readiness()
        self.metrics = HttpMetrics(identity.worker)
        self.limiter = ConcurrencyLimiter(settings.max_requests, settings.max_queue, SCORING_THREADS, settings.max_body)
        self.models = ModelRegistry(
            path, settings.device, self.metrics.count_load, settings.shadow_share, settings.max_keys, settings.label_names
        )
        self.settings = settings
        self._identity = identity
        self._tokens = TokenAuthentication(settings.token_file) if settings.token_file else None
        self._alarms = RecentAlarms()
        self._history = History(settings.history, self.metrics.count_failed_history)
        self._aggregator = Aggregator(
            self.models, self._alarms, self._history, self.metrics.count_failed_report, is_single=identity.socket is None
        )
        self._proxy = _proxy(identity, self.readiness, self.limiter, settings)
        sessions = SessionStore(settings.max_keys, settings.session_timeout)
        scoring = ScoringApi(self.models, self.limiter, self._alarms, settings)
        apis = Apis(
            scoring,
            SessionsApi(sessions, scoring, self.limiter, settings),
            AdminApi(self.models, self.metrics, self._aggregator, settings.shadow_share),
            HistoryApi(self.models, self._aggregator, self._history),
            LivePage(self.models, self._aggregator, self._history, self.readiness),
        )
        self._routes = build_routes(apis, self.models, self.readiness, self.metrics, tokens=self._tokens is not None)
        self.metrics.observe_in_flight(lambda: self.limiter.active_requests + self.limiter.active_streams)
        register_model_metrics(self.metrics.registry, self.models, sessions)

    def listener(self) -> Listener:
        """Return the listener for clients."""
        settings = self.settings
        origins = OriginPolicy(AllowedHosts(settings.host, settings.allowed_host or ()), settings.cors_origin or ())
        listener = self._listener(AccessLog(self.metrics, settings.access_share), self._tokens, origins)
        return listener._replace(app=with_cors(listener.app, settings.cors_origin)) if settings.cors_origin else listener

    @contextlib.asynccontextmanager
    async def background_tasks(self) -> AsyncIterator[None]:
        """Run what runs beside the requests, while the block runs.

        Raises:
            SettingError: the socket of the internal API cannot be created.
        """
        async with contextlib.AsyncExitStack() as stack:
            if self._proxy:
                await stack.enter_async_context(contextlib.aclosing(self._proxy))
                reporter = WorkerReporter(self.models, self._alarms, self._proxy.send_report, self.metrics.count_failed_report)
                await stack.enter_async_context(repeated(REPORT_INTERVAL, reporter.report))
            else:
                await stack.enter_async_context(self._keep_history())
                await stack.enter_async_context(repeated(REPORT_INTERVAL, self._update_aggregator))
                if self._identity.socket:
                    await stack.enter_async_context(self._serve_internal_api(self._identity.socket))
            yield

    @contextlib.asynccontextmanager
    async def _keep_history(self) -> AsyncIterator[None]:
        """Continue the history, and write it while the block runs."""
        self._aggregator.restore(await self._history.open())
        async with repeated(WRITE_INTERVAL, self._history.write):
            yield
        self._aggregator.update()
        await self._history.close()

    def _serve_internal_api(self, socket: Path) -> contextlib.AbstractAsyncContextManager[None]:
        """Serve the other workers, which have checked the tokens and the origins and count the requests themselves."""
        listener = self._listener(InternalAccessLog(self.metrics, 0.0), None, None)
        return serve_internal_api(InternalApi(listener.app, self._aggregator), socket, listener.connection, self.settings)

    def _listener(self, access_log: AccessLog, tokens: TokenAuthentication | None, origins: OriginPolicy | None) -> Listener:
        settings = self.settings
        app = App(
            self._routes,
            self.limiter,
            access_log,
            tokens,
            origins,
            send_timeout=settings.idle_timeout,
            forward=self._proxy.forward if self._proxy else None,
        )
        fast_path = FastPath(self._routes, self.limiter, access_log, tokens, origins, settings.max_body)
        return Listener(app, partial(ClientConnection, settings, fast_path, ResponseWriter(), access_log.record_dropped))

    async def _update_aggregator(self) -> None:
        self._aggregator.update()


def _proxy(identity: WorkerIdentity, readiness: Readiness, limiter: ConcurrencyLimiter, settings: HttpSettings) -> Proxy | None:
    """Return the proxy to worker 0, unless this is worker 0."""
    if identity.socket is None or identity.worker == 0:
        return None
    from serving.http.process.proxy import Proxy  # a single worker never imports httpcore

    return Proxy(identity.socket, readiness, limiter, settings)
