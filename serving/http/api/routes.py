"""The route table: every route of the service, with its role, its schemas and its handler."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from serving.codecs.json import Answer
from serving.codecs.oip import InferenceRequest, InferenceResponse
from serving.http.api.admin import AdminApi, FeedbackWritten, PromotionRequest, ShadowComparison, ThresholdRequest, VersionChange
from serving.http.api.history import DEFAULT_HOURS, MAX_HOURS, HistoryApi, ModelHistory
from serving.http.api.live_page import LivePage
from serving.http.api.model_info import ModelInfoApi
from serving.http.api.openapi import AnyJson, ImageFile, RowsBody
from serving.http.api.query_params import MAX_REASONS
from serving.http.api.score import ScoringApi
from serving.http.api.service_info import ServiceInfoApi
from serving.http.api.sessions import SessionsApi, SessionState
from serving.http.api.web_files import FILES, web_file
from serving.http.core.authentication import Role
from serving.http.core.metrics import HttpMetrics
from serving.http.core.readiness import Readiness
from serving.http.core.routing import Handler, QueryParameter, Route, RouteTable, Tag
from serving.http.models.feedback import FeedbackBody
from serving.http.models.registry import ModelRegistry

JSON, NDJSON, ARROW = "application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream"
RAW, PNG, JPEG = "application/octet-stream", "image/png", "image/jpeg"
ANY_JSON = {JSON: AnyJson}

REASONS = QueryParameter(
    "reasons", Annotated[int, Meta(ge=0, le=MAX_REASONS, extra_json_schema={"default": 3})], "Reasons per anomaly."
)
ONLY = QueryParameter("only", Literal["anomalies"], "Leave other verdicts out.")
HEATMAP = QueryParameter(
    "heatmap", Literal["1"], "For a PNG or JPEG body: return a picture of the error instead of verdicts.", images_only=True
)
DRY_RUN = QueryParameter("dry_run", Literal["0", "1"], "With 1: compute the effect, and change nothing.")
HOURS_BACK = QueryParameter(
    "hours",
    Annotated[int, Meta(ge=1, le=MAX_HOURS, extra_json_schema={"default": DEFAULT_HOURS})],
    "How far back; the longer, the longer the stretch of time that a point stands for.",
)

ROWS = {JSON: RowsBody, NDJSON: bytes, ARROW: bytes}
VERDICTS = {JSON: Answer, NDJSON: bytes, ARROW: bytes}
# Exactly one of the two fields.
NEW_THRESHOLD = Annotated[ThresholdRequest, Meta(extra_json_schema={"minProperties": 1, "maxProperties": 1})]


class Apis(NamedTuple):
    """The objects whose methods are the handlers."""

    scoring: ScoringApi
    sessions: SessionsApi
    admin: AdminApi
    history: HistoryApi
    live_page: LivePage


def build_routes(apis: Apis, models: ModelRegistry, readiness: Readiness, metrics: HttpMetrics, *, tokens: bool) -> RouteTable:
    """Return the route table; the scoring routes come first, because most requests are for them."""
    routes: list[Route] = []
    info = ServiceInfoApi(models, readiness, metrics, routes, requires_tokens=tokens)
    groups: dict[Tag, Iterable[Route]] = {
        "Score": _scoring_routes(apis.scoring),
        "Sessions": _session_routes(apis.sessions),
        "Models": _model_routes(ModelInfoApi(models, apis.scoring)),
        "Operate": _operate_routes(apis.admin, apis.history),
        "Service": _service_routes(info),
    }
    routes += [msgspec.structs.replace(route, tag=tag) for tag, group in groups.items() for route in group]
    routes += _page_routes(apis.live_page)
    return RouteTable(routes)


def _scoring_routes(scoring: ScoringApi) -> Iterable[Route]:
    yield from _with_version(
        "/v1/models/{name}",
        "/score",
        Route(
            method="POST",
            path="",
            handler=scoring.score,
            inline=scoring.score_inline,
            role="score",
            summary="Score rows with {name}",
            label="score",
            query=(REASONS, ONLY, HEATMAP),
            request={**ROWS, RAW: bytes, PNG: ImageFile, JPEG: ImageFile},
            response={**VERDICTS, RAW: bytes, PNG: ImageFile},
        ),
    )
    yield from _with_version(
        "/v2/models/{name}",
        "/infer",
        Route(
            method="POST",
            path="",
            handler=scoring.infer,
            inline=scoring.infer_inline,
            role="score",
            summary="Score columns with {name} (Open Inference Protocol)",
            label="infer",
            request={JSON: InferenceRequest},
            response={JSON: InferenceResponse, RAW: bytes},
        ),
    )


def _session_routes(sessions: SessionsApi) -> Iterable[Route]:
    state = Route(
        method="GET",
        path="",
        handler=sessions.describe,
        role="score",
        summary="State of a session of {name}",
        response={JSON: SessionState},
        series_only=True,
        on_worker_0=True,
    )
    score = msgspec.structs.replace(
        state,
        method="POST",
        handler=sessions.score,
        summary="Score rows that follow those of earlier requests with {name}",
        query=(REASONS, ONLY),
        request=ROWS,
        response=VERDICTS,
    )
    end = msgspec.structs.replace(state, method="DELETE", handler=sessions.end, summary="End a session of {name}")
    for route in (score, state, end):
        yield from _with_version("/v1/models/{name}", "/sessions/{key}", route)


def _model_routes(info: ModelInfoApi) -> Iterable[Route]:
    yield _get("/v1/models", info.list, "score", "List the models")
    yield from _with_version("/v1/models/{name}", "", _get("", info.describe, "score", "Describe {name}"))
    yield _get("/v2", info.server_metadata, "score", "Describe the server (Open Inference Protocol)")
    yield from _with_version("/v2/models/{name}", "", _get("", info.metadata, "score", "Describe inputs and outputs of {name}"))
    yield from _with_version("/v2/models/{name}", "/ready", _get("", info.metadata, "score", "Readiness of {name}"))
    yield _post("/v2/repository/index", info.index, "score", "List the open versions")
    yield _post("/v2/repository/models/{name}/load", info.load, "operate", "Activate the pinned or highest version of {name}")


def _operate_routes(admin: AdminApi, history: HistoryApi) -> Iterable[Route]:
    path = "/v1/models/{name}"
    shadow = _get(f"{path}/shadow", admin.shadow, "score", "Compare {name} with its shadow", {JSON: ShadowComparison})
    thresholds = _post(f"{path}/thresholds", admin.thresholds, "operate", "Try or write another threshold for {name}")
    yield msgspec.structs.replace(shadow, on_worker_0=True)
    yield msgspec.structs.replace(thresholds, request={JSON: NEW_THRESHOLD}, query=(DRY_RUN,), on_worker_0=True)
    points = _get(
        f"{path}/history", history.points, "operate", "Scores and alarms of {name} over hours and days", {JSON: ModelHistory}
    )
    yield msgspec.structs.replace(points, query=(HOURS_BACK,), on_worker_0=True)
    change, written = {JSON: VersionChange}, {JSON: FeedbackWritten}
    promote = _post(f"{path}/promote", admin.promote, "operate", "Promote a version of {name}", change)
    feedback = _post(f"{path}/feedback", admin.feedback, "operate", "Give feedback on verdicts of {name}", written)
    yield msgspec.structs.replace(promote, request={JSON: PromotionRequest})
    yield _post(f"{path}/rollback", admin.rollback, "operate", "Roll {name} back to its previous version", change)
    yield msgspec.structs.replace(feedback, request={JSON: FeedbackBody})


def _page_routes(page: LivePage) -> Iterable[Route]:
    for path in FILES:
        yield Route(method="GET", path=path, handler=web_file, role="public")
    yield Route(method="GET", path="/v1/events", handler=page.events, role="operate", on_worker_0=True)


def _service_routes(info: ServiceInfoApi) -> Iterable[Route]:
    yield _get("/livez", info.live, "public", "Whether the process runs")
    yield _get("/v2/health/live", info.live, "public", "Whether the process runs (Open Inference Protocol)")
    yield _get("/readyz", info.ready, "public", "Whether the service accepts work")
    yield _get("/healthz", info.ready, "public", "Whether the service accepts work")
    yield _get("/v2/health/ready", info.ready, "public", "Whether the service accepts work (Open Inference Protocol)")
    yield _get("/metrics", info.metrics, "metrics", "Metrics for Prometheus", {"text/plain": str})
    yield _get("/openapi.json", info.openapi, "public", "This document")
    yield _get("/docs", info.docs, "public", "This document as a page", {"text/html": str})


def _get(path: str, handler: Handler, role: Role, summary: str, response: Mapping[str, Any] = ANY_JSON) -> Route:
    return Route(method="GET", path=path, handler=handler, role=role, summary=summary, response=response)


def _post(path: str, handler: Handler, role: Role, summary: str, response: Mapping[str, Any] = ANY_JSON) -> Route:
    return Route(method="POST", path=path, handler=handler, role=role, summary=summary, response=response)


def _with_version(model_path: str, rest: str, route: Route) -> Iterable[Route]:
    """Yield a route for the current version of a model, and for each version by its number."""
    for path in (f"{model_path}{rest}", f"{model_path}/versions/{{version}}{rest}"):
        yield msgspec.structs.replace(route, path=path)
