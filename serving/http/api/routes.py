"""All routes but the hot one: what there is, and how it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from serving import web
from serving.http.api import oip, openapi
from serving.http.api.admin import AdminApi
from serving.http.api.live_page import LivePage
from serving.http.api.score import Scoring
from serving.http.api.sessions import Series
from serving.http.core.metrics import CONTENT_TYPE, HttpMetrics
from serving.http.core.problem_details import HttpProblem
from serving.http.core.readiness import Readiness
from serving.http.core.response import JSON
from serving.http.models.model import Model
from serving.http.models.registry import ModelRegistry
from serving.log import log

WEB = Path(web.__file__).parent
PAGE = {
    "/": (WEB / "page.html", "text/html"),
    "/page.css": (WEB / "page.css", "text/css"),
    "/page.js": (WEB / "page.js", "text/javascript"),
    "/page.svg": (WEB / "page.svg", "image/svg+xml"),
}
SESSIONS = ("/v1/models/{name}/sessions/{key}", "/v1/models/{name}/versions/{version}/sessions/{key}")


class Routes:
    """The routes, as ASGI."""

    def __init__(  # noqa: PLR0913 - all that answers meets here
        self,
        models: ModelRegistry,
        scoring: Scoring,
        state: Readiness,
        metrics: HttpMetrics,
        operations: AdminApi,
        live: LivePage,
        series: Series,
        *,
        forward: ASGIApp | None,
        tokens: bool,
    ) -> None:
        """Take what answers; `forward` leads to worker 0, of a worker that is another."""
        self._models = models
        self._scoring = scoring
        self._state = state
        self._metrics = metrics
        self._live = live
        self._forward = forward
        self._tokens = tokens
        self._router = Router(
            [
                *(Route(path, _page) for path in PAGE),
                self._central("/v1/events", self._events),
                Route("/livez", self._alive),
                Route("/readyz", self._ready),
                Route("/healthz", self._ready),
                Route("/metrics", self._measure),
                Route("/v1/models", self._list),
                Route("/v1/models/{name}", self._one),
                Route("/v1/models/{name}/versions/{version}", self._one),
                self._central("/v1/models/{name}/shadow", operations.shadow),
                Route("/v1/models/{name}/promote", operations.promote, methods=["POST"]),
                Route("/v1/models/{name}/rollback", operations.rollback, methods=["POST"]),
                self._central("/v1/models/{name}/thresholds", operations.thresholds, "POST"),
                Route("/v1/models/{name}/feedback", operations.feedback, methods=["POST"]),
                Route("/openapi.json", self._openapi),
                Route("/docs", self._docs),
                *(self._central(path, series.answer, "GET", "POST", "DELETE") for path in SESSIONS),
                Route("/v2", self._server),
                Route("/v2/health/live", self._alive),
                Route("/v2/health/ready", self._ready),
                Route("/v2/models/{name}", self._metadata),
                Route("/v2/models/{name}/ready", self._metadata),
                Route("/v2/models/{name}/infer", _score, methods=["POST"]),
                Route("/v2/models/{name}/versions/{version}", self._metadata),
                Route("/v2/models/{name}/versions/{version}/ready", self._metadata),
                Route("/v2/models/{name}/versions/{version}/infer", _score, methods=["POST"]),
                Route("/v2/repository/index", self._index, methods=["POST"]),
                Route("/v2/repository/models/{name}/load", self._load, methods=["POST"]),
                Route("/v1/models/{name}/score", _score, methods=["POST"]),
                Route("/v1/models/{name}/versions/{version}/score", _score, methods=["POST"]),
            ],
            redirect_slashes=False,
            default=_nothing,
        )

    def _central(self, path: str, answer: Callable[[Request], Awaitable[Response]], *methods: str) -> Route:
        """Give a route that worker 0 alone can answer; the others pass it on."""
        return Route(path, self._forward or answer, methods=methods or ["GET"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["app"] = self._router  # so that starlette raises what it refuses
        # Starlette's patterns end in `$`, which lets a line's end pass: a path would be another to `tokens` than to the router.
        answer = _nothing if scope["path"].endswith("\n") else self._router
        await answer(scope, receive, send)

    async def _alive(self, _request: Request) -> Response:
        return _json({"status": "alive"})

    async def _ready(self, _request: Request) -> Response:
        if self._state.draining:
            raise HttpProblem(503, "draining", "the service is going down: ask another one")
        return _json({"status": "ready", "models": len(self._models.current_models())})

    async def _events(self, _request: Request) -> Response:
        self._live.enter()
        return StreamingResponse(self._live.events(), media_type="text/event-stream")

    async def _measure(self, _request: Request) -> Response:
        return Response(self._metrics.text(), media_type=CONTENT_TYPE)

    async def _list(self, _request: Request) -> Response:
        return _json({"models": [self._summary(model) for model in self._models.current_models()]})

    async def _one(self, request: Request) -> Response:
        model = await self._scoring.model(request.path_params["name"], request.path_params.get("version"))
        return _json(self._summary(model) | {"manifest": model.scorer.manifest})

    async def _openapi(self, _request: Request) -> Response:
        return _json(self._document())

    async def _docs(self, _request: Request) -> Response:
        return Response(openapi.page(self._document()), media_type="text/html")

    def _document(self) -> dict[str, Any]:
        models = self._models.current_models()
        versions = {model.name: self._models.versions(model.name) for model in models}
        return openapi.document(models, versions=versions, tokens=self._tokens)

    async def _server(self, _request: Request) -> Response:
        return _json(oip.SERVER)

    async def _metadata(self, request: Request) -> Response:
        model = await self._scoring.model(request.path_params["name"], request.path_params.get("version"))
        return _json(oip.metadata(model, self._models.versions(model.name)))

    async def _index(self, _request: Request) -> Response:
        return _json(
            [
                {"name": each.name, "version": str(each.version), "state": "READY", "reason": ""}
                for each in self._models.open_models()
            ]
        )

    async def _load(self, request: Request) -> Response:
        model = await self._scoring.reload(request.path_params["name"])
        log().info("loaded", model=f"{model.name}/{model.version}")
        return _json({"name": model.name, "version": str(model.version)})

    def _summary(self, model: Model) -> dict[str, Any]:
        """Say what a model is."""
        scorer = model.scorer
        return {
            "name": model.name,
            "version": model.version,
            "versions": self._models.versions(model.name),
            "decision": scorer.manifest.decision,
            "calibration": scorer.calibration_counts._asdict(),
            "provider": scorer.graph.provider,
            "loaded": model.loaded,
        }


async def _page(request: Request) -> Response:
    """Give a file of the page."""
    file, kind = PAGE[request.url.path]
    return FileResponse(file, media_type=kind)


async def _score(_request: Request) -> Response:
    """Stand in for the hot route, which `app` takes before this is reached: other methods learn here what is allowed."""
    raise NotImplementedError


async def _nothing(scope: Scope, _receive: Receive, _send: Send) -> None:
    raise HttpProblem(404, "route", f"there is nothing at {scope['path'][:80]}; /openapi.json says what there is")


def _json(said: object) -> Response:
    return Response(msgspec.json.encode(said), media_type=JSON.decode())
