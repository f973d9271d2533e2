"""The latest alarms of each model, with the reasons that were asked for, kept until they are taken."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from detector.reasons import Reason
from detector.verdicts import Verdicts
from serving.monitoring.observed import ObservedModel

RowLabels = Callable[[Sequence[int]], Sequence[dict[str, str]]]  # the labels of rows, by their numbers

MAX_ALARMS = 100  # kept of each model


class AlarmEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A flagged row; the aggregator numbers it."""

    id: int = 0
    at: float  # seconds since 1970
    request_id: str
    row: int
    labels: dict[str, str] = {}  # the cells that name the row, by column
    version: int
    score: float
    p_value: float
    threshold: float
    reasons: list[Reason]  # none where the request asked for none, or its format has none


class RecentAlarms:
    """A buffer of alarms. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_name = self._empty()

    def record(self, model: ObservedModel, verdicts: Verdicts, request_id: str, labels_of: RowLabels | None = None) -> None:
        """Record the alarms of a request; of more than `MAX_ALARMS`, those with the highest scores."""
        flagged = verdicts.is_anomaly.nonzero()[0]
        if not len(flagged):
            return
        if len(flagged) > MAX_ALARMS:
            flagged = np.sort(flagged[np.argsort(verdicts.score[flagged])[-MAX_ALARMS:]])
        reasons = verdicts.reasons.by_row() if verdicts.reasons else {}
        rows = [int(verdicts.rows[index]) for index in flagged.tolist()]
        labels = labels_of(rows) if labels_of else [{}] * len(rows)
        with self._lock:
            for index, row, labels_of_row in zip(flagged.tolist(), rows, labels, strict=True):
                alarm = AlarmEvent(
                    at=time.time(),
                    request_id=request_id,
                    row=row,
                    labels=labels_of_row,
                    version=model.version,
                    score=float(verdicts.score[index]),
                    p_value=float(verdicts.p_value[index]),
                    threshold=model.scorer.manifest.decision.threshold,
                    reasons=list(reasons.get(index, [])),
                )
                self._by_name[model.name].append(alarm)

    def drain(self) -> dict[str, list[AlarmEvent]]:
        """Remove and return the alarms, by the model's name."""
        with self._lock:
            alarms, self._by_name = self._by_name, self._empty()
        return {name: list(of_name) for name, of_name in alarms.items()}

    @staticmethod
    def _empty() -> defaultdict[str, deque[AlarmEvent]]:
        return defaultdict(lambda: deque(maxlen=MAX_ALARMS))
