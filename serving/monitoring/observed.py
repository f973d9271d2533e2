"""The interface between monitoring and models: the attributes of an open model from which metrics, alarms and shadows read."""

from __future__ import annotations

from typing import Protocol

from detector.scorer import Scorer
from serving.monitoring.differences import DifferenceCounts
from serving.monitoring.rolling import RollingStatistics


class ObservedModel(Protocol):
    """One open version of one name."""

    name: str
    version: int
    scorer: Scorer
    statistics: RollingStatistics
    differences: DifferenceCounts
