"""What the page at `/` shows while it happens: scores by the second, alarms with their reasons, and how each model stands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from serving.http.core.problem_details import HttpProblem
from serving.http.core.readiness import Readiness
from serving.http.models.model import Model
from serving.http.models.registry import ModelRegistry
from serving.http.process.aggregator import Aggregator

MOST_LISTENERS = 16
COLUMNS = 3  # that changed most


class LivePage:
    """Shows what the hub knows."""

    def __init__(self, models: ModelRegistry, hub: Aggregator, state: Readiness) -> None:
        self._models = models
        self._hub = hub
        self._state = state
        self._listeners = 0

    def enter(self) -> None:
        """Let somebody look.

        Raises:
            HttpProblem: too many do.
        """
        if self._listeners >= MOST_LISTENERS:
            raise HttpProblem(429, "listeners", f"{self._listeners} pages are open already, which is as many as there may be")

    async def events(self) -> AsyncIterator[bytes]:
        """Give a server-sent event each second, until the service goes down."""
        self._listeners += 1
        alarms, since = 0, 0
        try:
            while not self._state.draining:
                now = int(time.time())
                self._hub.settle()
                said = {"models": [self._standing(model, alarms, since, now) for model in self._models.current_models()]}
                alarms, since = self._hub.number, now
                yield b"data: " + msgspec.json.encode(said) + b"\n\n"
                await asyncio.sleep(1)
        finally:
            self._listeners -= 1

    def _standing(self, model: Model, alarms: int, since: int, now: int) -> dict[str, Any]:
        """Say how a model stands; its alarms after number `alarms`, its scores from the second `since` until before `now`."""
        recent, standing, shadow = self._hub.recent(model), model.scorer.calibration_counts, model.shadow
        changed = sorted(recent.stability.items(), key=lambda each: -each[1])[:COLUMNS]
        return {
            "name": model.name,
            "version": model.version,
            "versions": self._models.versions(model.name),
            "pinned": self._models.is_pinned(model.name),
            "decision": model.scorer.manifest.decision,
            "window": model.scorer.manifest.window,
            "expected_alarm_ratio": (standing.above + 1) / (standing.rows + 1),  # of a series: of stretches
            "alarm_ratio": recent.alarm_ratio,
            "rows": recent.rows,
            "anomalies": recent.anomalies,
            "alarms_begun": recent.alarms,
            "rejected": recent.rejected,
            "martingale": recent.martingale,
            "changed": changed,
            "shadow": shadow and {"version": shadow.model.version, "agreement": self._hub.comparison(shadow).agreement()},
            "alarms": self._hub.alarms(model.name, alarms),
            "seconds": [msgspec.structs.astuple(each) for each in self._hub.seconds(model.name, since, now)],
        }
