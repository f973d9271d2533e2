"""What worker 0 knows of the rows of all workers: latest scores, alarms, and how shadows compare.

Each worker reports twice a second, worker 0 to itself; no request waits for it, and the size of a report is bounded. When
worker 0 restarts, it knows only what was reported since. Metrics stay with each worker.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from weakref import WeakKeyDictionary

import msgspec
import numpy as np

from serving.http.models.history import History
from serving.http.models.registry import ModelRegistry
from serving.http.models.worker_report import ModelReport, WorkerReport, take_report
from serving.model import ServedModel
from serving.monitoring.agreement import VersionComparison
from serving.monitoring.alarms import MAX_ALARMS, AlarmEvent, RecentAlarms
from serving.monitoring.recent import RecentStatistics
from serving.monitoring.rolling import StatisticsDelta
from serving.monitoring.shadow import ShadowModel

REPORT_INTERVAL = 0.5  # seconds
MAX_SECONDS = 600  # of scores that are kept


class SecondTotals(msgspec.Struct):
    """Totals of the rows that were reported in one second."""

    at: int  # seconds since 1970
    rows: int = 0
    alarms: int = 0
    max_score: float = -math.inf
    score_sum: float = 0.0


class Aggregator:
    """Merges the reports of the workers; used by the event loop's thread only."""

    def __init__(
        self,
        models: ModelRegistry,
        alarms: RecentAlarms,
        history: History,
        count_failed: Callable[[str], None],
        *,
        is_single: bool,
    ) -> None:
        """Aggregate `models` and `alarms` of this worker with the reports of others, and add them to the history.

        `count_failed` receives the reason when a report cannot be used. A single worker's own statistics are complete, so
        that they need no merging.
        """
        self._models = models
        self._own_alarms = alarms
        self._history = history
        self._count_failed = count_failed
        self._is_single = is_single
        self._alarm_ids = itertools.count(1)
        self._alarms: defaultdict[str, deque[AlarmEvent]] = defaultdict(lambda: deque(maxlen=MAX_ALARMS))
        self._seconds: defaultdict[str, deque[SecondTotals]] = defaultdict(lambda: deque(maxlen=MAX_SECONDS))
        self._recent: WeakKeyDictionary[ServedModel, RecentStatistics] = WeakKeyDictionary()
        self._comparisons: WeakKeyDictionary[ShadowModel, VersionComparison] = WeakKeyDictionary()

    def update(self) -> None:
        """Add what this worker has counted until now."""
        self.add(take_report(self._models, self._own_alarms))

    def add(self, report: WorkerReport) -> None:
        """Add the report of a worker."""
        models = {(model.name, model.version): model for model in self._models.open_models()}
        for model_report in report.models:
            self._add_to_second(model_report.name, model_report.statistics)
            if model := models.get((model_report.name, model_report.version)):
                self._merge(model, model_report)
            else:
                self._count_failed("version")  # not open here, or not yet
        for name, alarms in report.alarms.items():
            self._history.add_alarms(name, alarms)
            self._add_alarms(name, alarms)

    def restore(self, alarms: Mapping[str, Sequence[AlarmEvent]]) -> None:
        """Add alarms of the history."""
        for name, of_name in alarms.items():
            self._add_alarms(name, of_name[-MAX_ALARMS:])

    def recent(self, model: ServedModel) -> RecentStatistics:
        """Return the statistics of a model's latest rows."""
        if self._is_single:
            return model.statistics.recent
        if model not in self._recent:
            self._recent[model] = RecentStatistics(model.scorer)
        return self._recent[model]

    def comparison(self, shadow: ShadowModel) -> VersionComparison:
        """Return how a shadow compares with the version that answers."""
        return shadow.comparison if self._is_single else self._comparisons.setdefault(shadow, VersionComparison())

    def alarms(self, name: str, after_id: int) -> list[AlarmEvent]:
        """Return the latest alarms of a model with an ID above `after_id`."""
        return [alarm for alarm in self._alarms[name] if alarm.id > after_id]

    @property
    def last_alarm_id(self) -> int:
        """The ID of the latest alarm."""
        return max((alarms[-1].id for alarms in self._alarms.values() if alarms), default=0)

    def seconds(self, name: str, since: int, before: int) -> list[SecondTotals]:
        """Return the totals of a model for each second in `since <= second < before`."""
        return [second for second in self._seconds[name] if since <= second.at < before]

    def _add_alarms(self, name: str, alarms: Sequence[AlarmEvent]) -> None:
        self._alarms[name] += [msgspec.structs.replace(alarm, id=next(self._alarm_ids)) for alarm in alarms]

    def _merge(self, model: ServedModel, report: ModelReport) -> None:
        """Merge a worker's statistics of a model into those of all workers."""
        if self._is_single:
            return
        statistics, recent, shadow_report, shadow = report.statistics, self.recent(model), report.shadow, model.shadow
        recent.rejected += statistics.rejected
        recent.alarms += statistics.alarms
        if statistics.rows:
            cells = np.frombuffer(statistics.cells).reshape(-1, len(model.scorer.columns))
            recent.add(statistics.rows, statistics.anomalies, np.frombuffer(statistics.scores), cells)
        if shadow_report and shadow and shadow.version == shadow_report.version:
            self.comparison(shadow).merge(shadow_report.comparison)

    def _add_to_second(self, name: str, statistics: StatisticsDelta) -> None:
        """Add rows to the totals of the current second."""
        if not statistics.rows:
            return
        self._history.add_rows(name, statistics)
        now, seconds = int(time.time()), self._seconds[name]
        if not seconds or seconds[-1].at != now:
            seconds.append(SecondTotals(now))
        second = seconds[-1]
        second.rows += statistics.rows
        second.alarms += statistics.anomalies
        second.max_score = max(second.max_score, statistics.max_score)
        second.score_sum += statistics.score_sum
