"""What those may do who operate the service: promote a version and roll back, move the threshold, say what alarms were worth.

All of it is written to the repository on disk, which every worker follows; nothing is changed in a worker alone.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from detector import pin
from detector.decision import Decision
from detector.errors import BundleMissing, OutputError, ResiduumError, SettingError
from detector.versioning import recalibrate
from serving.http.api.query_params import unknown
from serving.http.core.metrics import HttpMetrics
from serving.http.core.problem_details import HttpProblem
from serving.http.core.request_id import request_id
from serving.http.core.response import JSON
from serving.http.models import feedback
from serving.http.models.feedback import Feedback
from serving.http.models.model import Model
from serving.http.models.registry import ModelRegistry
from serving.http.process.aggregator import Aggregator
from serving.log import log
from serving.monitoring.agreement import VersionComparison

T = TypeVar("T")

MOST = 64 * 1024  # bytes of a body


class PromotionRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be promoted."""

    version: int


class ThresholdRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Where the threshold is to be: by one of these."""

    false_alarm_rate: float | None = None
    threshold: float | None = None


class AdminApi:
    """The routes of those who operate the service."""

    def __init__(self, models: ModelRegistry, metrics: HttpMetrics, hub: Aggregator, shadow_share: float) -> None:
        self._models = models
        self._hub = hub
        self._metrics = metrics
        self._share = shadow_share

    async def shadow(self, request: Request) -> Response:
        """Say how far the current version and the one in its shadow agree."""
        name = request.path_params["name"]
        current = self._models.current(name)
        self._hub.settle()
        shadow = current.shadow
        found = self._hub.comparison(shadow) if shadow else VersionComparison()
        return _json(
            {
                "model": name,
                "version": current.version,
                "shadow": shadow.model.version if shadow else None,
                "share": self._share,
                "skipped": found.skipped,
                "agreement": found.agreement(),
            }
        )

    async def promote(self, request: Request) -> Response:
        """Answer by a version from here on."""
        wanted = await _body(request, PromotionRequest)
        return await self._move(request, "promoted", lambda place: self._promote(place, wanted.version))

    def _promote(self, place: Path, version: int) -> pin.PinChange:
        """Open a version and warm it up before it is pinned: one that cannot score is found out here."""
        pin.require_version(place, version)
        if self._models.find_open(place.name, str(version)) is None:
            self._models.open(place.name, str(version))
        return pin.promote(place, version)

    async def rollback(self, request: Request) -> Response:
        """Answer by the version that answered before."""
        return await self._move(request, "rolled back", pin.rollback)

    async def thresholds(self, request: Request) -> Response:
        """Say what another threshold would have done to the latest rows; unless `?dry_run=1`, write it as the next version."""
        name, dry_run = request.path_params["name"], _dry_run(request)
        wanted = await _body(request, ThresholdRequest)
        model = self._models.current(name)
        decision = _decision(wanted, model)
        said = {"model": name, "version": model.version, "decision": decision, **self._effect(model, decision)}
        if dry_run:
            return _json(said)
        place = self._models.repository_folder(name)
        _, manifest = await _on_disk(place, lambda: recalibrate(model.scorer, decision))
        now = await _on_disk(place, lambda: self._models.reload(name))
        log().info("threshold", model=name, version=manifest.version, parent=model.version, request_id=_id(request))
        return _json(said | {"version": now.version, "written": manifest.version})

    async def feedback(self, request: Request) -> Response:
        """Write down what verdicts were worth."""
        name = request.path_params["name"]
        given = await _body(request, Feedback | list[Feedback])
        place, version = self._models.repository_folder(name), self._models.current(name).version
        several = given if isinstance(given, list) else [given]
        await _on_disk(place, lambda: feedback.append(place, version, several))
        for each in several:
            self._metrics.fed_back(name, each.verdict)
        return _json({"model": name, "written": len(several)})

    def _effect(self, model: Model, decision: Decision) -> dict[str, Any]:
        """Say what a threshold does to the calibration rows, and would have done to the latest rows.

        Of a series these are stretches, and rows whose scores lie above it: how long an alarm lasts is not told.
        """
        self._hub.settle()
        latest, now = self._hub.recent(model).latest, model.scorer.manifest.decision
        alarms, alarms_now = int(decision.is_anomaly(latest).sum()), int(now.is_anomaly(latest).sum())
        ratio = alarms / len(latest) if len(latest) else None
        return {
            "latest": {"rows": len(latest), "alarms": alarms, "alarm_ratio": ratio, "alarms_now": alarms_now},
            "calibration": model.scorer.calibration.counts(decision.threshold)._asdict(),
        }

    async def _move(self, request: Request, done: str, move: Callable[[Path], pin.PinChange]) -> Response:
        """Move the pin, and answer once this worker has followed."""
        name = request.path_params["name"]
        place = self._models.repository_folder(name)
        moved = await _on_disk(place, lambda: move(place))
        model = await _on_disk(place, lambda: self._models.reload(name))
        log().info(done, model=name, version=moved.version, was=moved.previous, request_id=_id(request))
        return _json({"model": name, "version": model.version, "was": moved.previous})


def _decision(wanted: ThresholdRequest, model: Model) -> Decision:
    """Give the decision that is asked for."""
    match wanted:
        case ThresholdRequest(false_alarm_rate=float(rate), threshold=None):
            try:
                return model.scorer.decide(rate)
            except SettingError as error:
                raise HttpProblem(422, "threshold", str(error), path="$.false_alarm_rate", found=f"{rate:g}") from error
        case ThresholdRequest(false_alarm_rate=None, threshold=float(value)) if math.isfinite(value):
            return Decision(threshold=value, promise="value", criterion="chosen")
        case _:
            raise HttpProblem(422, "threshold", "a threshold is set by one of two", expected="false_alarm_rate or threshold")


def _dry_run(request: Request) -> bool:
    """Tell whether nothing is to be done."""
    for name, value in request.query_params.items():
        if (name, value) not in {("dry_run", "0"), ("dry_run", "1")}:
            raise unknown(name, value, "dry_run=1")
    return request.query_params.get("dry_run") == "1"


def _id(request: Request) -> str:
    """Give the name of a request."""
    return request_id(dict(request.headers.raw))


async def _on_disk(place: Path, work: Callable[[], T]) -> T:
    """Do something slow in a thread."""
    try:
        return await asyncio.to_thread(work)
    except ResiduumError as error:
        raise _problem(error, place) from error


def _problem(error: ResiduumError, place: Path) -> HttpProblem:
    """Say what is wrong, and not where the repository lies."""
    said = str(error).replace(str(place.absolute()), place.name).replace(str(place), place.name)
    match error:
        case BundleMissing():
            return HttpProblem(404, "version", said)
        case OutputError():
            return HttpProblem(503, "disk", said)
        case _:
            return HttpProblem(409, "refused", said)


async def _body(request: Request, kind: Any) -> Any:  # noqa: ANN401 - of that kind
    """Read a body."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST:
            raise HttpProblem(413, "body", f"the body has more than {MOST:,} bytes", expected=f"at most {MOST:,} bytes")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `")
        raise HttpProblem(422, "shape", said, path=path.rstrip("`") or "$") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HttpProblem(400, "json", f"the body is not JSON: {error}") from error


def _json(said: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(said), media_type=JSON.decode())
