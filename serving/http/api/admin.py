"""The admin API: promote a version and roll back, move the threshold, give feedback, compare with the shadow.

All changes are written to the repository on disk, which every worker follows; none is made in one worker only.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from detector import bundle, pin
from detector.decision import Decision
from detector.errors import ResiduumError, SettingError
from detector.files.stream import BOM
from detector.versioning import recalibrate
from serving.http.api.bundle_problems import bundle_problem
from serving.http.api.query_params import invalid_parameter
from serving.http.core.metrics import HttpMetrics
from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import Request
from serving.http.core.response import Response, json_response
from serving.http.models import feedback
from serving.http.models.aggregator import Aggregator
from serving.http.models.feedback import FeedbackBody
from serving.http.models.registry import ModelRegistry
from serving.log import log
from serving.model import ServedModel
from serving.monitoring.agreement import Agreement, VersionComparison

T = TypeVar("T")

MAX_BODY = 64 * 1024  # bytes


class PromotionRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The version to promote."""

    version: int


class ThresholdRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A new threshold, given by exactly one of these."""

    false_alarm_rate: Annotated[
        float | None, Meta(extra_json_schema={"exclusiveMinimum": 0, "exclusiveMaximum": 1})  # checked by the scorer
    ] = None
    threshold: float | None = None


class VersionChange(msgspec.Struct, frozen=True):
    """The version that answers now, and the one that answered before."""

    model: str
    version: int
    was: int | None


class FeedbackWritten(msgspec.Struct, frozen=True):
    """How many items of feedback were written."""

    model: str
    written: int


class ShadowComparison(msgspec.Struct, frozen=True):
    """How the verdicts of the current version and of its shadow compare."""

    model: str
    version: int
    shadow: Annotated[int | None, Meta(description="The version of the shadow, if there is one.")]
    share: Annotated[float, Meta(description="The share of requests that the shadow scores too.")]
    skipped: Annotated[int, Meta(description="Tables that the shadow was too busy to score.")]
    agreement: Agreement


class AdminApi:
    """The routes for operating the service."""

    def __init__(self, models: ModelRegistry, metrics: HttpMetrics, aggregator: Aggregator, shadow_share: float) -> None:
        self._models = models
        self._aggregator = aggregator
        self._metrics = metrics
        self._shadow_share = shadow_share

    async def shadow(self, request: Request) -> Response:
        """Return how the current version and its shadow compare."""
        current = self._models.current(request.path_params["name"])
        self._aggregator.update()
        shadow = current.shadow
        comparison = self._aggregator.comparison(shadow) if shadow else VersionComparison()
        return json_response(
            ShadowComparison(
                model=current.name,
                version=current.version,
                shadow=shadow.version if shadow else None,
                share=self._shadow_share,
                skipped=comparison.skipped,
                agreement=comparison.agreement(),
            )
        )

    async def promote(self, request: Request) -> Response:
        """Make a version the one that answers."""
        version = (await _decode_body(request, PromotionRequest)).version
        return await self._move_pin(request, "version promoted", lambda folder: self._promote(folder, version))

    def _promote(self, folder: Path, version: int) -> pin.PinChange:
        """Verify and open a version before it is pinned, so that one that cannot score is refused here."""
        pin.require_version(folder, version)
        bundle.read(folder / str(version))
        if self._models.find_open(folder.name, str(version)) is None:
            self._models.open(folder.name, str(version))
        return pin.promote(folder, version)

    async def rollback(self, request: Request) -> Response:
        """Make the previous version the one that answers."""
        return await self._move_pin(request, "version rolled back", pin.rollback)

    async def thresholds(self, request: Request) -> Response:
        """Return the effect of a threshold on the latest rows; unless `?dry_run=1`, write it as the next version too."""
        name, is_dry_run = request.path_params["name"], _is_dry_run(request)
        body = await _decode_body(request, ThresholdRequest)
        model = self._models.current(name)
        decision = _decision(body, model)
        effect = {"model": name, "version": model.version, "decision": decision, **self._effect(model, decision)}
        if is_dry_run:
            return json_response(effect)
        folder = self._models.repository_folder(name)
        _, manifest = await _in_thread(folder, lambda: recalibrate(model.scorer, decision))
        current = await _in_thread(folder, lambda: self._models.reload(name))
        log().info("threshold written", model=name, version=manifest.version, parent=model.version, request_id=request.id)
        return json_response(effect | {"version": current.version, "written": manifest.version})

    async def feedback(self, request: Request) -> Response:
        """Write feedback on verdicts."""
        name = request.path_params["name"]
        body = await _decode_body(request, FeedbackBody)
        folder, version = self._models.repository_folder(name), self._models.current(name).version
        items = body if isinstance(body, list) else [body]
        await _in_thread(folder, lambda: feedback.append(folder, version, items))
        for item in items:
            self._metrics.count_feedback(name, item.verdict)
        return json_response(FeedbackWritten(name, len(items)))

    def _effect(self, model: ServedModel, decision: Decision) -> dict[str, Any]:
        """Return what a threshold does to the calibration rows, and would have done to the latest rows.

        For a series the calibration counts stretches, and the latest rows are those with scores above the threshold; how
        long an alarm would have lasted is unknown.
        """
        self._aggregator.update()
        latest, current = self._aggregator.recent(model).latest, model.scorer.manifest.decision
        alarms, alarms_now = int(decision.is_anomaly(latest).sum()), int(current.is_anomaly(latest).sum())
        ratio = alarms / len(latest) if len(latest) else None
        return {
            "latest": {"rows": len(latest), "alarms": alarms, "alarm_ratio": ratio, "alarms_now": alarms_now},
            "calibration": model.scorer.calibration.counts(decision.threshold)._asdict(),
        }

    async def _move_pin(self, request: Request, event: str, move: Callable[[Path], pin.PinChange]) -> Response:
        """Move the pin, and respond once this worker has activated the version."""
        name = request.path_params["name"]
        folder = self._models.repository_folder(name)
        moved = await _in_thread(folder, lambda: move(folder))
        model = await _in_thread(folder, lambda: self._models.reload(name))
        log().info(event, model=name, version=moved.version, previous=moved.previous, request_id=request.id)
        return json_response(VersionChange(name, model.version, moved.previous))


def _decision(body: ThresholdRequest, model: ServedModel) -> Decision:
    """Return the decision that a request describes."""
    match body:
        case ThresholdRequest(false_alarm_rate=float(rate), threshold=None):
            try:
                return model.scorer.decide(rate)
            except SettingError as error:
                raise HttpProblem(422, "threshold", str(error), path="$.false_alarm_rate", found=f"{rate:g}") from error
        case ThresholdRequest(false_alarm_rate=None, threshold=float(value)) if math.isfinite(value):
            return Decision(threshold=value, promise="value", criterion="chosen")
        case _:
            detail = "the body must hold exactly one of false_alarm_rate and threshold"
            raise HttpProblem(422, "threshold", detail, expected="false_alarm_rate or threshold")


def _is_dry_run(request: Request) -> bool:
    params = request.query_params
    for name, value in params.items():
        if (name, value) not in {("dry_run", "0"), ("dry_run", "1")}:
            raise invalid_parameter(name, value, "dry_run=1")
    return params.get("dry_run") == "1"


async def _in_thread(folder: Path, work: Callable[[], T]) -> T:
    """Do slow work in a thread, and convert its errors."""
    try:
        return await asyncio.to_thread(work)
    except ResiduumError as error:
        raise bundle_problem(error, folder) from error


async def _decode_body(request: Request, body_type: Any) -> Any:  # noqa: ANN401 - of that type
    """Read and decode the body of a request."""
    body = (await request.body(MAX_BODY)).removeprefix(BOM)
    try:
        return msgspec.json.decode(body, type=body_type)
    except msgspec.ValidationError as error:
        detail, _, path = str(error).partition(" - at `")
        raise HttpProblem(422, "shape", detail, path=path.rstrip("`") or "$") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HttpProblem(400, "json", f"the body is not JSON: {error}") from error
