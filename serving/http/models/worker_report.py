"""What each worker reports to worker 0 twice a second: row counts, latest scores, some cells, alarms and shadow comparisons."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from serving.http.models.registry import ModelRegistry
from serving.monitoring.agreement import ComparisonDelta
from serving.monitoring.alarms import AlarmEvent, RecentAlarms
from serving.monitoring.rolling import StatisticsDelta


class ShadowReport(msgspec.Struct, frozen=True, array_like=True):
    """How a shadow compared with the version that answered, since the last report."""

    version: int
    comparison: ComparisonDelta


class ModelReport(msgspec.Struct, frozen=True, array_like=True):
    """The statistics of one version since the last report."""

    name: str
    version: int
    statistics: StatisticsDelta
    shadow: ShadowReport | None


class WorkerReport(msgspec.Struct, frozen=True, array_like=True):
    """The statistics of a worker's models since its last report."""

    models: Sequence[ModelReport]
    alarms: dict[str, list[AlarmEvent]]  # by model name

    def __bool__(self) -> bool:
        """Return whether there is anything to report."""
        return bool(self.models or self.alarms)


def take_report(models: ModelRegistry, alarms: RecentAlarms) -> WorkerReport:
    """Return what was counted since the last report, and start the next one."""
    reports = []
    for model in models.open_models():
        statistics, shadow = model.statistics.take_delta(), model.shadow
        comparison = shadow.comparison.take_delta() if shadow else None
        shadow_report = ShadowReport(shadow.version, comparison) if shadow and comparison else None
        if statistics.rows or statistics.rejected or comparison:
            reports.append(ModelReport(model.name, model.version, statistics, shadow_report))
    return WorkerReport(reports, alarms.drain())


class WorkerReporter:
    """Sends the reports of this worker; a report that fails is retried before the next one is taken."""

    def __init__(
        self,
        models: ModelRegistry,
        alarms: RecentAlarms,
        send: Callable[[WorkerReport], Awaitable[bool]],
        count_failed: Callable[[str], None],
    ) -> None:
        self._models = models
        self._alarms = alarms
        self._send = send
        self._count_failed = count_failed
        self._unsent: WorkerReport | None = None

    async def report(self) -> None:
        """Send the unsent report or a new one."""
        report = self._unsent or take_report(self._models, self._alarms)
        if not report:
            return
        arrived = await self._send(report)
        self._unsent = None if arrived else report
        if not arrived:
            self._count_failed("away")
