"""Which models and versions there are, in this service's own API and in the Open Inference Protocol."""

from __future__ import annotations

from typing import Any

from serving.codecs import oip
from serving.http.api.score import ScoringApi
from serving.http.core.request import Request
from serving.http.core.response import Response, json_response
from serving.http.models.registry import ModelRegistry
from serving.log import log
from serving.model import ServedModel


class ModelInfoApi:
    """The routes that describe models."""

    def __init__(self, models: ModelRegistry, scoring: ScoringApi) -> None:
        self._models = models
        self._scoring = scoring

    async def list(self, _request: Request) -> Response:
        """Return a summary of each model."""
        return json_response({"models": [self._summary(model) for model in self._models.current_models()]})

    async def describe(self, request: Request) -> Response:
        """Return the summary and the manifest of a model."""
        model = await self._scoring.requested_model(request)
        return json_response(self._summary(model) | {"manifest": model.scorer.manifest})

    async def server_metadata(self, _request: Request) -> Response:
        """Return the name and the extensions of the server, as the Open Inference Protocol defines it."""
        return json_response(oip.SERVER)

    async def metadata(self, request: Request) -> Response:
        """Return the inputs and outputs of a model, as the Open Inference Protocol defines it."""
        model = await self._scoring.requested_model(request)
        return json_response(oip.metadata(model, self._models.versions(model.name)))

    async def index(self, _request: Request) -> Response:
        """Return the open versions, as the model repository extension defines it."""
        return json_response(
            [
                {"name": model.name, "version": str(model.version), "state": "READY", "reason": ""}
                for model in self._models.open_models()
            ]
        )

    async def load(self, request: Request) -> Response:
        """Activate the version of a model that is pinned or highest now."""
        name = request.path_params["name"]
        model = await self._scoring.load(name)
        log().info("model reloaded", model=f"{model.name}/{model.version}")
        return json_response({"name": model.name, "version": str(model.version)})

    def _summary(self, model: ServedModel) -> dict[str, Any]:
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
