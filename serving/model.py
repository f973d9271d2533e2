"""A model that is open for serving: its scorer, its statistics, and the version in its shadow."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from detector.batch import NO_DIFFERENCES, Batch, ColumnDifferences
from detector.files.json_lines import LineDecoder
from detector.inputs import SeriesInput, SeriesSession, Session
from detector.scorer import Scorer
from detector.verdicts import Verdicts
from detector.windows import MAX_KEYS
from serving.log import error_fields, log
from serving.monitoring.differences import DifferenceCounts
from serving.monitoring.rolling import RollingStatistics
from serving.monitoring.shadow import ShadowModel


class ServedModel:
    """One version of one name."""

    def __init__(self, name: str, scorer: Scorer, max_keys: int = MAX_KEYS, label_names: Sequence[str] = ()) -> None:
        """Serve an open scorer; one session keeps at most `max_keys` series; rows may hold the columns `label_names`."""
        self.name = name
        self.version = scorer.manifest.version
        self.scorer = scorer
        self.statistics = RollingStatistics(scorer)
        self.differences = DifferenceCounts(name, self.version)
        self.shadow: ShadowModel | None = None  # another version that scores some of the same rows
        self.loaded = dt.datetime.now(dt.UTC)
        self.threshold = scorer.manifest.decision.threshold  # scores above it are anomalies
        self.columns = scorer.input.required
        self.numbers = scorer.input.numbers
        # Columns that training left out, or that label rows, are no mistake of a client.
        self.known = frozenset((*self.columns, *label_names, *(ignored.name for ignored in scorer.manifest.ignored)))
        self.decoders: dict[type, Any] = {}  # that codecs made at their first body, by their class
        self._max_keys = max_keys
        self._row_session = None if isinstance(scorer.input, SeriesInput) else scorer.session()

    @cached_property
    def line_decoder(self) -> LineDecoder:
        """Decodes NDJSON."""
        return LineDecoder("", self.columns, self.numbers)

    def session(self) -> Session:
        """Return a session for scoring rows that come in batches; where rows are scored one by one it remembers nothing."""
        return self._row_session or self.scorer.session(self._max_keys)

    def count_differences(self, differences: ColumnDifferences) -> None:
        """Count how the columns of a batch differ from those of the model."""
        try:
            if differences is not NO_DIFFERENCES and any(differences):
                self.differences.add(differences)
        except Exception as error:  # noqa: BLE001 - as below
            log().error("statistics failed", model=self.name, version=self.version, **error_fields(error))

    def score(self, batch: Batch, *, top: int, session: Session | None = None) -> Verdicts:
        """Return the verdicts on a batch, anomalies with up to `top` reasons; without a `session` in one of its own.

        Raises:
            TableError: the batch lacks a column.
        """
        verdicts = (session or self.session()).score(batch, explain="anomalies" if top else "none", top=top)
        try:
            self.statistics.add(verdicts)
            if (shadow := self.shadow) and not isinstance(session, SeriesSession):  # whose earlier rows it does not know
                shadow.submit(batch, verdicts)
        except Exception as error:  # noqa: BLE001 - what observes verdicts never changes an answer
            log().error("statistics failed", model=self.name, version=self.version, **error_fields(error))
        return verdicts
