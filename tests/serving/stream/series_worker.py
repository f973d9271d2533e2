"""A worker on series without its process: scoring, windows in memory, and a state file."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from serving.limits import RecordLimits
from serving.model import ServedModel
from serving.stream.base import ScoredRecords
from serving.stream.metrics import StreamMetrics
from serving.stream.scoring import RecordScorer
from serving.stream.series_state import SeriesState
from serving.stream.state_store import FilePosition, StateStore
from serving.stream.text import ENCODER
from tests.serving.stream.fakes import batch_of

LIMITS = RecordLimits(2**20, 8, 10_000)
POSITION = FilePosition(1, "", 0, 0, 1)


class SeriesWorker:
    """Scores batches of lines; a second one on the same store acts as a restarted worker."""

    def __init__(self, model: ServedModel, store: StateStore, state_memory: int | None = None) -> None:
        self.metrics = StreamMetrics(list)
        self._state = SeriesState(model, self.metrics, state_memory)
        self._score = RecordScorer(model, LIMITS, self._state)
        self._store = store

    def score(self, lines: Sequence[bytes], row: int = 1) -> ScoredRecords:
        """Score a batch without delivering it."""
        return self._score(batch_of(lines, row), lambda _: self._store.records())

    def deliver(self, lines: Sequence[bytes], row: int = 1) -> ScoredRecords:
        """Score a batch and commit its changes."""
        scored = self.score(lines, row)
        self._store.commit(POSITION, scored.changes)
        self._state.commit()
        return scored

    def change_model(self, model: ServedModel) -> None:
        self._state.change_model(model)
        self._score = RecordScorer(model, LIMITS, self._state)


def encoded(batches: Sequence[ScoredRecords]) -> list[dict[str, object]]:
    """Return verdicts as a sink writes them."""
    return [msgspec.json.decode(ENCODER.encode(verdict)) for scored in batches for verdict in scored.verdicts]
