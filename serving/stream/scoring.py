"""A batch of records to verdicts and dead letters, by the same rules as files and HTTP.

A clean batch is decoded at once; any other is decoded record by record, so that only bad records become dead letters.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from detector import cells
from detector.batch import RecordBatch, Scalar, column
from detector.columns import is_foreign
from detector.errors import StreamError
from detector.files.blocks import count
from detector.files.json_lines import show
from detector.inputs import SeriesSession
from detector.inputs.series import AFTER
from detector.rejects import Reject
from detector.verdicts import Verdicts
from serving.codecs.column_differences import with_differences
from serving.codecs.json_limits import depth, without_long_texts
from serving.limits import RecordLimits
from serving.log import error_fields, log
from serving.model import ServedModel
from serving.stream.base import DeadLetter, DeadLetterReason, PolledBatch, RecordVerdict, ScoredRecords
from serving.stream.formats import recognize
from serving.stream.series_state import ReadState, SeriesState

MISSING = "None"  # how a reject shows a missing cell


class RecordScorer:
    """Scores batches by one version of a model."""

    def __init__(self, model: ServedModel, limits: RecordLimits, series: SeriesState) -> None:
        """Score by `model`; `series` keeps the windows of its series between two batches."""
        self.model = model
        self._limits = limits
        self._series = series
        self._decoder = model.line_decoder

    def __call__(self, batch: PolledBatch, read_state: ReadState) -> ScoredRecords:
        """Score a batch; `read_state` reads the stored state of partitions that were assigned.

        Raises:
            ConnectionLost, StreamError: the graph fails on every row, or the stored state cannot be read.
        """
        reasons: dict[int, DeadLetterReason] = {}
        records = with_differences(self._decode(batch, reasons), lambda: batch.values, self.model)
        self.model.count_differences(records.differences)
        if len(batch.block) > self._limits.max_text:
            records = self._without_long_texts(records, reasons)
        parts = list(self._by_partition(records, batch, reasons, read_state))
        verdicts = list(itertools.chain.from_iterable(self._messages(part, batch) for part in parts))
        at = parts[0].row_numbers if len(parts) == 1 else [row for part in parts for row in part.row_numbers]
        dead_letters = [
            DeadLetter(reject.row, self._dead_letter_reason(reject, reasons), reject) for part in parts for reject in part.rejects
        ]
        skipped = list(batch.values).count(None) if self._limits.skip_tombstones else 0
        return ScoredRecords(batch, verdicts, at, sorted(dead_letters), list(self._series.changes()), skipped)

    def _by_partition(
        self, records: RecordBatch, batch: PolledBatch, reasons: dict[int, DeadLetterReason], read_state: ReadState
    ) -> Iterator[Verdicts]:
        """Score the rows of series partition by partition, single rows all at once."""
        if self._series.window is None:
            yield from self._score(records, batch, reasons)
            return
        if batch.has_keys and self._series.window.key:
            records = self._without_wrong_keys(records, batch, self._series.window.key, reasons)
        partitions, positions = batch.partitions(), dict[int, list[int]]()
        for position, row in enumerate(records.rows):
            positions.setdefault(partitions[row], []).append(position)
        self._series.begin_batch(batch.assignments, list(positions), read_state)
        rejects = records.rejects
        for partition, of_partition in positions.items():
            part = records if len(positions) == 1 else records.select(of_partition)
            yield from self._score(part._replace(rejects=rejects), batch, reasons, self._series.series(partition))
            rejects = []
        if rejects and not positions:
            yield self._rejected(records)

    def _without_wrong_keys(
        self, records: RecordBatch, batch: PolledBatch, name: str, reasons: dict[int, DeadLetterReason]
    ) -> RecordBatch:
        """Reject the rows whose record has another key: it may be in any partition, away from its series."""
        series = series_names(records.values[name], self.model.scorer.manifest.missing)
        kept, rejects = [], []
        for position, (row, expected, key) in enumerate(zip(records.rows, series, batch.keys(records.rows), strict=True)):
            if expected is None or key == expected.encode():
                kept.append(position)
                continue
            reasons[row] = "wrong key"
            found = "no key" if key is None else f"the key {show(key)!r}"
            rejects.append(Reject(row, name, found, f"the record's key to be {expected!r}, as in its row"))
        return records.select(kept)._replace(rejects=[*records.rejects, *rejects]) if rejects else records

    def _decode(self, batch: PolledBatch, reasons: dict[int, DeadLetterReason]) -> RecordBatch:
        """Decode a batch; rows are numbered by their position in it."""
        block, limits = batch.block, self._limits
        if len(block) <= limits.max_record or max(map(len, filter(None, batch.values)), default=0) <= limits.max_record:
            records = self._decoder.read_fast(block, 0)
            if records and len(records.rows) == len(batch) and (records.flat or count(block, b"{", b"[") <= len(batch)):
                return records
        return self._decode_each(batch, reasons)

    def _decode_each(self, batch: PolledBatch, reasons: dict[int, DeadLetterReason]) -> RecordBatch:
        rows, records, rejects = [], [], []
        for at, value in enumerate(batch.values):
            if batch.is_blank(at) or (value is None and self._limits.skip_tombstones):
                continue
            record = self._check_limits(at, value, reasons) or self._decoder.read_line(value or b"", at)
            if isinstance(record, Reject):
                rejects.append(record)
            else:
                rows.append(at)
                records.append(record)
        values = {key: [record[key] for record in records] for key in self.model.columns}
        return RecordBatch(values, rows, rejects, numbers=self.model.numbers)

    def _check_limits(self, at: int, value: bytes | None, reasons: dict[int, DeadLetterReason]) -> Reject | None:
        """Reject a record that must not be decoded."""
        limits = self._limits
        if value is None:
            reasons[at] = "tombstone"
            return Reject(at, "", "no value (a tombstone)", "a JSON object")
        if len(value) > limits.max_record:
            reasons[at] = "too big"
            return Reject(at, "", f"{len(value):,} bytes", f"at most {limits.max_record:,}")
        if found := recognize(value):
            reasons[at] = found.reason
            return Reject(at, "", found.found, found.expected)
        if value.count(b"{") + value.count(b"[") > limits.max_depth and (levels := depth(value)) > limits.max_depth:
            reasons[at] = "too deep"
            return Reject(at, "", f"{levels} levels", f"at most {limits.max_depth} levels")
        return None

    def _without_long_texts(self, records: RecordBatch, reasons: dict[int, DeadLetterReason]) -> RecordBatch:
        kept = without_long_texts(records, self._limits.max_text)
        reasons.update((reject.row, "too big") for reject in kept.rejects[len(records.rejects) :])
        return kept

    def _score(
        self,
        records: RecordBatch,
        batch: PolledBatch,
        reasons: dict[int, DeadLetterReason],
        session: SeriesSession | None = None,
    ) -> Iterator[Verdicts]:
        """Score rows; if the graph fails, find the row on which it fails and score the others as if it had not come."""
        try:
            with _atomic(session):
                verdicts = self.model.score(records, top=self._limits.reasons, session=session)
        except Exception as error:  # noqa: BLE001 - whatever a row does to a graph
            self._check_graph(error)
            if len(records.rows) > 1:
                for half in _halves(records):
                    yield from self._score(half, batch, reasons, session)
                return
            (row,) = records.rows
            (origin,) = batch.origins([row])
            log().warning("scorer failed", record=str(origin), **error_fields(error))
            reasons[row] = "scorer failed"
            found = show(msgspec.json.encode({key: values[0] for key, values in records.values.items()}))
            verdicts = self._rejected(records, Reject(row, "", found, f"a row that can be scored ({type(error).__name__})"))
        yield verdicts

    def _rejected(self, records: RecordBatch, *further: Reject) -> Verdicts:
        """Return the verdicts on no row, with everything that was rejected."""
        nothing = records.select(())._replace(rejects=[*records.rejects, *further])
        return self.model.score(nothing, top=self._limits.reasons)

    def _dead_letter_reason(self, reject: Reject, reasons: dict[int, DeadLetterReason]) -> DeadLetterReason:
        """Return the reason of a dead letter."""
        if reason := reasons.get(reject.row):
            return reason
        if not reject.column:
            return "no column of this model" if is_foreign(reject) else "not JSON"
        window = self._series.window
        if window and reject.column == window.time and reject.expected.startswith(AFTER):
            return "too old"
        if window and reject.column in window.columns and reject.found == MISSING:
            return "no time" if reject.column == window.time else "no key"
        return "wrong type"

    def _check_graph(self, error: Exception) -> None:
        """Raise unless the graph fails on some rows only.

        Raises:
            StreamError: it fails on a row of missing cells too.
        """
        scorer = self.model.scorer
        try:
            scorer.graph.scores(scorer.input.examples(np.full((1, len(scorer.columns)), np.nan), 1))
        except Exception as again:  # noqa: BLE001 - as above
            raise StreamError(f"the graph of {scorer.folder} fails on every row: {again}") from error

    def _messages(self, verdicts: Verdicts, batch: PolledBatch) -> Iterator[Any]:
        """Return the messages that carry the verdicts."""
        model = self.model
        beside: list[Iterable[object]] = [
            itertools.repeat(model.name),
            itertools.repeat(model.version),
            batch.origins(verdicts.row_numbers),
        ]
        return verdicts.records(RecordVerdict, after=beside)


@contextlib.contextmanager
def _atomic(session: SeriesSession | None) -> Iterator[None]:
    """Undo what rows changed in the windows if not all of them can be scored."""
    if session is None:
        yield
        return
    session.windows.savepoint()
    try:
        yield
    except BaseException:
        session.windows.rollback()
        raise
    session.windows.release()


def _halves(records: RecordBatch) -> tuple[RecordBatch, RecordBatch]:
    """Split records in two; earlier rejects go with the first half."""
    middle, positions = len(records.rows) // 2, range(len(records.rows))
    return records.select(positions[:middle]), records.select(positions[middle:])._replace(rejects=[])


def series_names(values: Sequence[Scalar], missing: Sequence[str]) -> list[str | None]:
    """Return the series that each row names; None where it names none."""
    texts = cells.texts(column("", values, (), typed=False), cells.missing_words(missing)).to_list()
    return [text and cells.category_text(text) for text in texts]
