"""The events of the live page at `/`: scores per second, alarms with reasons, and the state of each model."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from serving.http.core.problem_details import HttpProblem
from serving.http.core.readiness import Readiness
from serving.http.core.request import Request
from serving.http.core.response import StreamedResponse, until_disconnected
from serving.http.models.aggregator import Aggregator
from serving.http.models.history import History
from serving.http.models.moved_columns import Drift, find_drift
from serving.http.models.registry import ModelRegistry
from serving.model import ServedModel

MAX_LISTENERS = 16
MAX_CHANGED = 3  # columns that changed most
DRIFT_INTERVAL = 3.0  # seconds after which it is computed anew
EVENT_STREAM = b"text/event-stream; charset=utf-8"


class LivePage:
    """The events of the page, from what the aggregator knows."""

    def __init__(self, models: ModelRegistry, aggregator: Aggregator, history: History, readiness: Readiness) -> None:
        self._models = models
        self._aggregator = aggregator
        self._history = history
        self._drifts: WeakKeyDictionary[ServedModel, tuple[float, Drift | None]] = WeakKeyDictionary()  # since when
        self._readiness = readiness
        self._listeners = 0

    async def events(self, request: Request) -> StreamedResponse:
        """Return a stream of server-sent events.

        Raises:
            HttpProblem: too many pages are open.
        """
        if self._listeners >= MAX_LISTENERS:
            raise HttpProblem(429, "listeners", f"{self._listeners} pages are open, which is the limit")
        return StreamedResponse(until_disconnected(self._events(), request), EVENT_STREAM)

    async def _events(self) -> AsyncGenerator[bytes, None]:
        """Yield an event every second, until the service shuts down."""
        self._listeners += 1
        last_alarm_id, since = 0, 0
        try:
            while not self._readiness.closing:
                now = int(time.time())
                self._aggregator.update()
                models = [self._state(model, last_alarm_id, since, now) for model in self._models.current_models()]
                last_alarm_id, since = self._aggregator.last_alarm_id, now
                history = {"kept": self._history.kept, "problem": self._history.problem}
                yield b"data: " + msgspec.json.encode({"models": models, "history": history}) + b"\n\n"
                await asyncio.sleep(1)
        finally:
            self._listeners -= 1

    def _state(self, model: ServedModel, after_alarm_id: int, since: int, before: int) -> dict[str, Any]:
        """Return the state of a model, with its alarms after an ID and its scores of `since <= second < before`."""
        aggregator, calibration, shadow = self._aggregator, model.scorer.calibration_counts, model.shadow
        recent, drift = aggregator.recent(model), self._drift(model)
        changed = sorted(recent.stability.items(), key=lambda column: -column[1])[:MAX_CHANGED]
        return {
            "name": model.name,
            "version": model.version,
            "versions": self._models.versions(model.name),
            "pinned": self._models.is_pinned(model.name),
            "decision": model.scorer.manifest.decision,
            "window": model.scorer.manifest.window,
            "expected_alarm_ratio": (calibration.above + 1) / (calibration.rows + 1),  # for a series: of stretches
            "alarm_ratio": recent.alarm_ratio,
            "is_off_promise": self._is_off_promise(model),
            "rows": recent.rows,
            "anomalies": recent.anomalies,
            "alarms_begun": recent.alarms,
            "rejected": recent.rejected,
            "martingale": recent.martingale,
            "drift": drift and drift._asdict(),
            "changed": changed,
            "shadow": shadow and {"version": shadow.version, "agreement": aggregator.comparison(shadow).agreement()},
            "alarms": aggregator.alarms(model.name, after_alarm_id),
            "seconds": [msgspec.structs.astuple(second) for second in aggregator.seconds(model.name, since, before)],
        }

    def _is_off_promise(self, model: ServedModel) -> bool:
        """Return whether a model flags more rows than its threshold promises; of a series, begun alarms are promised."""
        manifest, recent = model.scorer.manifest, self._aggregator.recent(model)
        if manifest.window:
            return False
        calibration = model.scorer.calibration_counts
        rate = manifest.decision.false_alarm_rate or (calibration.above + 1) / (calibration.rows + 1)
        return recent.is_above(rate)

    def _drift(self, model: ServedModel) -> Drift | None:
        """Return the drift of a model, computed at intervals."""
        now = time.monotonic()
        since, drift = self._drifts.get(model, (-math.inf, None))
        if now > since + DRIFT_INTERVAL:
            drift = find_drift(model.scorer, self._aggregator.recent(model))
            self._drifts[model] = now, drift
        return drift
