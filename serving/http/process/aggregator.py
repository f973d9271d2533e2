"""What must be known in one place, which is worker 0: the latest scores, alarms, and how shadows agree, of all workers' rows.

Each worker reports twice a second, worker 0 to itself: nothing of this happens while a request waits, and what is told is
bounded, however much was judged. Where worker 0 is started again, it knows what was reported since. Metrics stay each
worker's own.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import defaultdict, deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

import msgspec
import numpy as np

from serving.http.models.model import Model
from serving.http.models.registry import ModelRegistry
from serving.http.process.worker_report import ModelReport, WorkerReport, take_report
from serving.monitoring.agreement import VersionComparison
from serving.monitoring.alarms import MAX_ALARMS, AlarmEvent, RecentAlarms
from serving.monitoring.recent import RecentStatistics
from serving.monitoring.rolling import StatisticsDelta
from serving.monitoring.shadow import ShadowModel

REPORT_EVERY = 0.5  # seconds
SECONDS = 600  # of scores that are kept


class SecondTotals(msgspec.Struct):
    """What was reported in a second."""

    at: int  # seconds since 1970
    rows: int = 0
    alarms: int = 0
    highest: float = -math.inf
    total: float = 0.0  # of the scores


class Aggregator:
    """Puts the workers' reports together; only for the loop's thread."""

    def __init__(self, models: ModelRegistry, alarms: RecentAlarms, lost: Callable[[str], None], *, alone: bool) -> None:
        """Take what this worker has; `lost` is told why a report is lost; a worker that is alone counts nothing twice."""
        self._models = models
        self._noted = alarms
        self._lost = lost
        self._alone = alone
        self._numbers = itertools.count(1)
        self._alarms: defaultdict[str, deque[AlarmEvent]] = defaultdict(lambda: deque(maxlen=MAX_ALARMS))
        self._seconds: defaultdict[str, deque[SecondTotals]] = defaultdict(lambda: deque(maxlen=SECONDS))
        self._recent: WeakKeyDictionary[Model, RecentStatistics] = WeakKeyDictionary()
        self._comparisons: WeakKeyDictionary[ShadowModel, VersionComparison] = WeakKeyDictionary()

    def settle(self) -> None:
        """Take what this worker counted up to now."""
        self.put(take_report(self._models, self._noted))

    def put(self, told: WorkerReport) -> None:
        """Take a worker's report."""
        models = {(model.name, model.version): model for model in self._models.open_models()}
        for each in told.models:
            self._note_second(each.name, each.news)
            if model := models.get((each.name, each.version)):
                self._add(model, each)
            else:
                self._lost("version")  # one that is not open here, or not yet
        for name, alarms in told.alarms.items():
            self._alarms[name] += [msgspec.structs.replace(alarm, id=next(self._numbers)) for alarm in alarms]

    def recent(self, model: Model) -> RecentStatistics:
        """Say what a model's latest rows look like."""
        if self._alone:
            return model.statistics.recent
        if model not in self._recent:
            self._recent[model] = RecentStatistics(model.scorer)
        return self._recent[model]

    def comparison(self, shadow: ShadowModel) -> VersionComparison:
        """Say how far a shadow agrees with the version that answers."""
        return shadow.comparison if self._alone else self._comparisons.setdefault(shadow, VersionComparison())

    def alarms(self, name: str, after: int) -> list[AlarmEvent]:
        """Give the latest alarms of a name, beyond a number."""
        return [each for each in self._alarms[name] if each.id > after]

    @property
    def number(self) -> int:
        """The number of the latest alarm."""
        return max((kept[-1].id for kept in self._alarms.values() if kept), default=0)

    def seconds(self, name: str, since: int, before: int) -> list[SecondTotals]:
        """Give what was reported of a name in a time."""
        return [each for each in self._seconds[name] if since <= each.at < before]

    def _add(self, model: Model, told: ModelReport) -> None:
        """Add a model's rows to those of the other workers."""
        if self._alone:
            return
        news, recent, beside, shadow = told.news, self.recent(model), told.shadow, model.shadow
        recent.rejected += news.rejected
        recent.alarms += news.alarms
        if news.rows:
            cells = np.frombuffer(news.cells).reshape(-1, len(model.scorer.columns))
            recent.add(news.rows, news.anomalies, np.frombuffer(news.scores), cells)
        if beside and shadow and shadow.model.version == beside.version:
            self.comparison(shadow).merge(beside.compared)

    def _note_second(self, name: str, news: StatisticsDelta) -> None:
        """Add to the second that it is."""
        if not news.rows:
            return
        now, seconds = int(time.time()), self._seconds[name]
        if not seconds or seconds[-1].at != now:
            seconds.append(SecondTotals(now))
        second = seconds[-1]
        second.rows += news.rows
        second.alarms += news.anomalies
        second.highest = max(second.highest, news.max_score)
        second.total += news.score_sum
