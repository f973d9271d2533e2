"""Health, metrics, and the description of the API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.http.api import openapi
from serving.http.api.web_files import HTML, docs_page
from serving.http.core.metrics import CONTENT_TYPE, HttpMetrics
from serving.http.core.problem_details import HttpProblem
from serving.http.core.readiness import Readiness
from serving.http.core.request import Request
from serving.http.core.response import Response, json_response
from serving.http.core.routing import Route
from serving.http.models.registry import ModelRegistry


class ServiceInfoApi:
    """The routes that describe the service; `routes` is the route table, which includes them."""

    def __init__(
        self,
        models: ModelRegistry,
        readiness: Readiness,
        metrics: HttpMetrics,
        routes: Sequence[Route],
        *,
        requires_tokens: bool,
    ) -> None:
        self._models = models
        self._readiness = readiness
        self._metrics = metrics
        self._routes = routes
        self._requires_tokens = requires_tokens

    async def live(self, _request: Request) -> Response:
        """Return a status while the process runs."""
        return json_response({"status": "alive"})

    async def ready(self, _request: Request) -> Response:
        """Return a status while the service accepts work.

        Raises:
            HttpProblem: the service is shutting down.
        """
        if self._readiness.draining:
            raise HttpProblem(503, "draining", "the service is shutting down; send the request to another instance")
        return json_response({"status": "ready", "models": len(self._models.current_models())})

    async def metrics(self, _request: Request) -> Response:
        """Return the metrics of this worker."""
        return Response(self._metrics.text(), CONTENT_TYPE)

    async def openapi(self, _request: Request) -> Response:
        """Return the OpenAPI document."""
        return json_response(self._document())

    async def docs(self, _request: Request) -> Response:
        """Return the OpenAPI document as a page."""
        return Response(docs_page(openapi.operations(self._document())), HTML)

    def _document(self) -> dict[str, Any]:
        models = self._models.current_models()
        versions = {model.name: self._models.versions(model.name) for model in models}
        return openapi.document(self._routes, models, versions, requires_tokens=self._requires_tokens)
