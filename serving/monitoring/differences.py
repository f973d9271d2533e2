"""Unknown and missing columns of the rows of one model: counted for the metrics, and logged once a minute at most."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from detector.batch import ColumnDifferences
from serving.log import log

LOG_INTERVAL = 60.0  # seconds
MAX_NAMES = 20  # in a line of the log


class DifferenceCounts:
    """The column differences of the rows of one model. Thread-safe."""

    def __init__(self, name: str, version: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._version = version
        self._clock = clock
        self._lock = threading.Lock()
        self._logged = -LOG_INTERVAL  # when, by the clock
        self._unlogged: tuple[Counter[str], Counter[str]] = Counter(), Counter()  # unknown and missing, of a few names
        self.unknown = 0  # of all names together: a client may send any
        self.missing: Counter[str] = Counter()  # by column

    def add(self, differences: ColumnDifferences) -> None:
        """Count the differences of some rows, and log all that were not logged yet if the latest line is old enough."""
        with self._lock:
            self.unknown += sum(differences.unknown.values())
            self.missing = self.missing + Counter(differences.missing)  # a copy: another thread reads it
            for counts, found in zip(self._unlogged, differences, strict=True):
                counts.update({name: count for name, count in found.items() if name in counts or len(counts) < MAX_NAMES})
            now = self._clock()
            if now - self._logged < LOG_INTERVAL:
                return
            self._logged, unlogged, self._unlogged = now, self._unlogged, (Counter(), Counter())
        self._log(*unlogged)

    def _log(self, unknown: Counter[str], missing: Counter[str]) -> None:
        """Log names of columns, each with the number of rows; since the latest such line."""
        log().warning(
            "rows have other columns than the model",
            model=self._name,
            version=self._version,
            unknown_columns=dict(unknown),
            missing_columns=dict(missing),
        )
