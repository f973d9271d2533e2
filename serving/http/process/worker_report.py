"""What a worker tells of its models, twice a second: rows as counts, the latest scores and a few cells; alarms; its shadows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from serving.http.models.registry import ModelRegistry
from serving.monitoring.agreement import ComparisonDelta
from serving.monitoring.alarms import AlarmEvent, RecentAlarms
from serving.monitoring.rolling import StatisticsDelta

REPORTS = "/reports"  # where worker 0 takes them


class ShadowReport(msgspec.Struct, frozen=True, array_like=True):
    """What a version in the shadow said."""

    version: int
    compared: ComparisonDelta


class ModelReport(msgspec.Struct, frozen=True, array_like=True):
    """What one version said since the last report."""

    name: str
    version: int
    news: StatisticsDelta
    shadow: ShadowReport | None


class WorkerReport(msgspec.Struct, frozen=True, array_like=True):
    """What a worker's models said since its last report."""

    models: Sequence[ModelReport]
    alarms: dict[str, list[AlarmEvent]]  # by the model's name

    def __bool__(self) -> bool:
        """Tell whether there is anything in it."""
        return bool(self.models or self.alarms)


def take_report(models: ModelRegistry, alarms: RecentAlarms) -> WorkerReport:
    """Write a report."""
    some = []
    for model in models.open_models():
        news, shadow = model.statistics.take_delta(), model.shadow
        compared = shadow.comparison.take_delta() if shadow else None
        beside = ShadowReport(shadow.model.version, compared) if shadow and compared else None
        if news.rows or news.rejected or compared:
            some.append(ModelReport(model.name, model.version, news, beside))
    return WorkerReport(some, alarms.drain())


class WorkerReporter:
    """Hands this worker's reports in; while worker 0 is away one waits, and what is counted meanwhile is in the next."""

    def __init__(
        self,
        models: ModelRegistry,
        alarms: RecentAlarms,
        tell: Callable[[WorkerReport], Awaitable[bool]],
        failed: Callable[[str], None],
    ) -> None:
        self._models = models
        self._alarms = alarms
        self._tell = tell
        self._failed = failed
        self._waiting: WorkerReport | None = None

    async def hand_in(self) -> None:
        """Tell what is new."""
        told = self._waiting or take_report(self._models, self._alarms)
        if not told:
            return
        arrived = await self._tell(told)
        self._waiting = None if arrived else told
        if not arrived:
            self._failed("away")
