"""RecentAlarms with their reasons, as they happen: the latest ones are kept until somebody takes them."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque

import msgspec
import numpy as np

from detector.row_reasons import Reason
from detector.scorer import NO_REASONS
from serving.http.models.model import Model
from serving.model import Judged
from serving.verdict_records import grouped

MAX_ALARMS = 100  # of a model that are kept
MAX_PER_REQUEST = 10  # of it that are kept


class AlarmEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A row that was flagged; it has a number once it is listed."""

    id: int = 0
    at: float  # seconds since 1970
    request_id: str
    row: int
    version: int
    score: float
    p_value: float
    threshold: float
    reasons: list[Reason]


class RecentAlarms:
    """Notes alarms down. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: defaultdict[str, deque[AlarmEvent]] = defaultdict(lambda: deque(maxlen=MAX_ALARMS))

    def record(self, model: Model, judged: Judged, request_id: str) -> None:
        """Note down alarms of a request, the strongest if they are many."""
        verdicts = judged.verdicts
        if not judged.reasons and verdicts.reasons is NO_REASONS:
            return
        flagged = verdicts.is_anomaly.nonzero()[0]
        if len(flagged) > MAX_PER_REQUEST:
            flagged = np.sort(flagged[np.argsort(verdicts.score[flagged])[-MAX_PER_REQUEST:]])
        reasons = judged.reasons or grouped(verdicts.reasons)
        with self._lock:
            for at in flagged.tolist():
                alarm = AlarmEvent(
                    at=time.time(),
                    request_id=request_id,
                    row=int(judged.rows[at]),
                    version=model.version,
                    score=float(verdicts.score[at]),
                    p_value=float(verdicts.p_value[at]),
                    threshold=model.scorer.manifest.decision.threshold,
                    reasons=reasons.get(at, []),
                )
                self._kept[model.name].append(alarm)

    def drain(self) -> dict[str, list[AlarmEvent]]:
        """Give those since the last time, by the model's name."""
        with self._lock:
            taken, self._kept = self._kept, defaultdict(self._kept.default_factory)
        return {name: list(alarms) for name, alarms in taken.items()}
