"""What the page at `/` shows while it happens: scores by the second, alarms with their reasons, and how each model stands.

Alarms are kept always, being few; scores only while somebody looks. What one worker judges the others do not know.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from detector.scorer import NO_REASONS
from detector.telling import Reason
from serving.http.model import Model
from serving.http.models import Models
from serving.http.problem import Problem
from serving.http.state import State
from serving.model import Judged
from serving.words import grouped

MOST_LISTENERS = 16
MOST_ALARMS = 100  # of a model that are kept
OF_A_REQUEST = 10  # alarms of it that are kept
SECONDS = 600  # of scores that are kept
COLUMNS = 3  # that changed most


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """A row that was flagged."""

    id: int
    at: float  # seconds since 1970
    request_id: str
    row: int
    version: int
    score: float
    p_value: float
    threshold: float
    reasons: list[Reason]


class Second(msgspec.Struct):
    """What was judged in a second."""

    at: int  # seconds since 1970
    rows: int = 0
    alarms: int = 0
    highest: float = -math.inf
    total: float = 0.0  # of the scores


class Live:
    """Notes down what is shown, and shows it. Safe to use from several threads."""

    def __init__(self, models: Models, state: State, place: tuple[int, int]) -> None:
        """Take the models, and which worker this is of how many."""
        self._models = models
        self._state = state
        self._place = place
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._alarms: defaultdict[str, deque[Alarm]] = defaultdict(lambda: deque(maxlen=MOST_ALARMS))
        self._seconds: defaultdict[str, deque[Second]] = defaultdict(lambda: deque(maxlen=SECONDS))
        self._listeners = 0

    def note(self, model: Model, judged: Judged, request_id: str) -> None:
        """Note down the verdicts on a request."""
        if judged.reasons or judged.verdicts.reasons is not NO_REASONS:
            self._note_alarms(model, judged, request_id)
        if self._listeners and len(judged.rows):
            self._note_scores(model.name, judged)

    def _note_alarms(self, model: Model, judged: Judged, request_id: str) -> None:
        """Keep the first alarms of a request."""
        verdicts = judged.verdicts
        flagged = verdicts.is_anomaly.nonzero()[0][:OF_A_REQUEST].tolist()
        reasons = judged.reasons or grouped(verdicts.reasons)
        with self._lock:
            for at in flagged:
                alarm = Alarm(
                    id=next(self._numbers),
                    at=time.time(),
                    request_id=request_id,
                    row=int(judged.rows[at]),
                    version=model.version,
                    score=float(verdicts.score[at]),
                    p_value=float(verdicts.p_value[at]),
                    threshold=model.scorer.manifest.decision.threshold,
                    reasons=reasons.get(at, []),
                )
                self._alarms[model.name].append(alarm)

    def _note_scores(self, name: str, judged: Judged) -> None:
        """Add to the second that it is."""
        score, now = judged.verdicts.score[judged.verdicts.scored], int(time.time())
        if not len(score):
            return
        with self._lock:
            seconds = self._seconds[name]
            if not seconds or seconds[-1].at != now:
                seconds.append(Second(now))
            second = seconds[-1]
            second.rows += len(score)
            second.alarms += int(judged.verdicts.is_anomaly.sum())
            second.highest = max(second.highest, float(score.max()))
            second.total += float(score.sum())

    def enter(self) -> None:
        """Let somebody look.

        Raises:
            Problem: too many do.
        """
        if self._listeners >= MOST_LISTENERS:
            raise Problem(429, "listeners", f"{self._listeners} pages are open already, which is as many as there may be")

    async def events(self) -> AsyncIterator[bytes]:
        """Give a server-sent event each second, until the service goes down."""
        self._listeners += 1
        alarms, since = 0, 0
        try:
            while not self._state.draining:
                now = int(time.time())
                said = {
                    "worker": self._place[0],
                    "workers": self._place[1],
                    "models": [self._standing(model, alarms, since, now) for model in self._models.all()],
                }
                alarms = max((each.id for kept in self._alarms.values() for each in kept), default=alarms)
                since = now
                yield b"data: " + msgspec.json.encode(said) + b"\n\n"
                await asyncio.sleep(1)
        finally:
            self._listeners -= 1

    def _standing(self, model: Model, alarms: int, since: int, now: int) -> dict[str, Any]:
        """Say how a model stands; its alarms after number `alarms`, its scores from the second `since` until before `now`."""
        watch, decision, shadow = model.watch, model.scorer.manifest.decision, model.shadow
        watch.settle()
        with self._lock:
            latest = [each for each in self._alarms[model.name] if each.id > alarms]
            seconds = [msgspec.structs.astuple(each) for each in self._seconds[model.name] if since <= each.at < now]
        changed = sorted(watch.stability.items(), key=lambda each: -each[1])[:COLUMNS]
        standing = model.scorer.standing
        return {
            "name": model.name,
            "version": model.version,
            "versions": self._models.versions(model.name),
            "pinned": self._models.is_pinned(model.name),
            "decision": decision,
            "window": model.scorer.manifest.window,
            "expected_alarm_ratio": (standing.above + 1) / (standing.rows + 1),  # of a series: of stretches
            "alarm_ratio": watch.alarm_ratio,
            "rows": watch.rows,
            "anomalies": watch.anomalies,
            "alarms_begun": watch.alarms,
            "rejected": sum(watch.rejected.values()),
            "martingale": watch.martingale,
            "changed": changed,
            "shadow": {"version": shadow.model.version, "agreement": shadow.found()} if shadow else None,
            "alarms": latest,
            "seconds": seconds,
        }
