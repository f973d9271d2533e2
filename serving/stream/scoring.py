"""A batch to verdicts and dead letters, by the rules of every other door.

A clean batch is decoded at once; of any other each record is decoded by itself, so that only bad ones become letters.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from msgspec import UNSET

from detector import cells
from detector.batch import RecordBatch, Scalar
from detector.errors import StreamError
from detector.files.blocks import count
from detector.files.json_lines import show
from detector.files.ndjson import column
from detector.rejects import Reject
from detector.series import AFTER, Series
from serving.codecs.json_limits import depth, without_long_texts
from serving.log import error_fields, log
from serving.model import Judged, Model
from serving.stream.base import Batch, DeadLetter, DeadLetterReason, RecordVerdict, ScoredBatch
from serving.stream.series_state import ReadState, SeriesState
from serving.verdict_records import flags_of, placed, reasons_of, states_of

MISSING = "None"  # as a reject shows a cell that is not there


class Limits(msgspec.Struct, frozen=True):
    """What is still judged, and how much is said of an anomaly."""

    max_record: int  # bytes
    max_depth: int  # lists and objects inside each other
    max_text: int  # characters of one cell
    reasons: int = 3


class Judge:
    """Judges batches by one version of a model."""

    def __init__(self, model: Model, limits: Limits, runs: SeriesState) -> None:
        """Take the model, and what is remembered of series."""
        self.model = model
        self._limits = limits
        self._runs = runs
        self._decoder = model.lines()

    def __call__(self, batch: Batch, read_state: ReadState) -> ScoredBatch:
        """Judge a batch; `read_state` gives what was kept of partitions that came to us.

        Raises:
            ConnectionLost, StreamError: the graph fails on every row, or what was kept cannot be read.
        """
        whys: dict[int, DeadLetterReason] = {}
        lines = self._read(batch, whys)
        if len(batch.block) > self._limits.max_text:
            lines = self._without_long_texts(lines, whys)
        parts = list(self._apart(lines, batch, whys, read_state))
        verdicts = list(itertools.chain.from_iterable(self._verdicts(part, batch) for part in parts))
        at = parts[0].numbers if len(parts) == 1 else [row for part in parts for row in part.numbers]
        letters = [DeadLetter(each.row, self._why(each, whys), each) for part in parts for each in part.rejects]
        return ScoredBatch(batch, verdicts, at, sorted(letters), list(self._runs.changes()))

    def _apart(
        self, lines: RecordBatch, batch: Batch, whys: dict[int, DeadLetterReason], read_state: ReadState
    ) -> Iterator[Judged]:
        """Judge the rows of a series by partition; single rows all at once."""
        if self._runs.window is None:
            yield from self._judged(lines, whys)
            return
        if batch.has_keys and self._runs.window.key:
            lines = self._without_wrong_keys(lines, batch, self._runs.window.key, whys)
        partitions, there = batch.partitions(), dict[int, list[int]]()
        for place, row in enumerate(lines.rows):
            there.setdefault(partitions[row], []).append(place)
        self._runs.begin_batch(batch.assignments, list(there), read_state)
        rejects = lines.rejects
        for partition, places in there.items():
            part = lines if len(there) == 1 else taken(lines, places)
            yield from self._judged(part._replace(rejects=rejects), whys, self._runs.series(partition))
            rejects = []
        if rejects and not there:
            yield self.model.judge(nothing(lines), self._limits.reasons)

    def _without_wrong_keys(self, lines: RecordBatch, batch: Batch, named: str, whys: dict[int, DeadLetterReason]) -> RecordBatch:
        """Reject the rows whose record has another key than they: it may be in any partition, away from its series."""
        said = keys_in(lines.values[named], self.model.scorer.manifest.missing)
        kept, rejects = [], []
        for place, (row, key, found) in enumerate(zip(lines.rows, said, batch.keys(lines.rows), strict=True)):
            if key is None or found == key.encode():
                kept.append(place)
                continue
            whys[row] = "wrong key"
            shown = "no key" if found is None else f"the key {show(found)!r}"
            rejects.append(Reject(row, named, shown, f"the record's key to be {key!r}, as in its row"))
        return taken(lines, kept)._replace(rejects=[*lines.rejects, *rejects]) if rejects else lines

    def _read(self, batch: Batch, whys: dict[int, DeadLetterReason]) -> RecordBatch:
        """Decode a batch; rows are numbered by their place in it."""
        block, limits = batch.block, self._limits
        if len(block) <= limits.max_record or max(map(len, filter(None, batch.values)), default=0) <= limits.max_record:
            lines = self._decoder.read_fast(block, 0)
            if lines and len(lines.rows) == len(batch) and (lines.flat or count(block, b"{", b"[") <= len(batch)):
                return lines
        return self._read_each(batch, whys)

    def _read_each(self, batch: Batch, whys: dict[int, DeadLetterReason]) -> RecordBatch:
        """Decode record by record."""
        rows, records, rejects = [], [], []
        for at, value in enumerate(batch.values):
            if batch.is_blank(at):
                continue
            record = self._limited(at, value, whys) or self._decoder.read_line(value or b"", at)
            if isinstance(record, Reject):
                rejects.append(record)
            else:
                rows.append(at)
                records.append(record)
        values = {key: [record[key] for record in records] for key in self.model.columns}
        return RecordBatch(values, rows, rejects, 0, typed=False)

    def _limited(self, at: int, value: bytes | None, whys: dict[int, DeadLetterReason]) -> Reject | None:
        """Refuse a record that is not to be decoded."""
        limits = self._limits
        if value is None:
            return Reject(at, "", "no value", "a JSON object")
        if len(value) > limits.max_record:
            whys[at] = "too big"
            return Reject(at, "", f"{len(value):,} bytes", f"at most {limits.max_record:,}")
        if value.count(b"{") + value.count(b"[") > limits.max_depth and (found := depth(value)) > limits.max_depth:
            whys[at] = "too deep"
            return Reject(at, "", f"{found} levels", f"at most {limits.max_depth} levels")
        return None

    def _without_long_texts(self, lines: RecordBatch, whys: dict[int, DeadLetterReason]) -> RecordBatch:
        """Reject the rows that hold a text that is too long."""
        kept = without_long_texts(lines, self._limits.max_text, self.model.numbers)
        whys.update((each.row, "too big") for each in kept.rejects[len(lines.rejects) :])
        return kept

    def _judged(self, lines: RecordBatch, whys: dict[int, DeadLetterReason], run: Series | None = None) -> Iterator[Judged]:
        """Judge rows; where the scorer fails, find the row on which it does, and judge the others as if it had not come."""
        try:
            with _as_one(run):
                judged = self.model.judge(lines, self._limits.reasons, run)
        except Exception as error:  # noqa: BLE001 - whatever a row does to a graph
            self._check_graph(error)
            if len(lines.rows) > 1:
                for half in _halves(lines):
                    yield from self._judged(half, whys, run)
                return
            log().warning("scorer failed", **error_fields(error))
            (row,) = lines.rows
            whys[row] = "scorer failed"
            found = show(msgspec.json.encode({key: cells[0] for key, cells in lines.values.items()}))
            poison = Reject(row, "", found, f"a row that can be scored ({type(error).__name__})")
            judged = self.model.judge(nothing(lines, poison), self._limits.reasons)
        yield judged

    def _why(self, reject: Reject, whys: dict[int, DeadLetterReason]) -> DeadLetterReason:
        """Give the word for a reject."""
        if (why := whys.get(reject.row)) or not reject.column:
            return why or "not JSON"
        window = self._runs.window
        if window and reject.column == window.time and reject.expected.startswith(AFTER):
            return "too old"
        if window and reject.column in window.columns and reject.found == MISSING:
            return "no time" if reject.column == window.time else "no key"
        return "wrong type"

    def _check_graph(self, error: Exception) -> None:
        """Make sure that the scorer fails on some rows only.

        Raises:
            StreamError: it fails on a row of holes too.
        """
        try:
            window = self.model.scorer.manifest.window
            shape = (1, window.length) if window else (1,)
            self.model.scorer.graph.scores(np.full((*shape, len(self.model.scorer.columns)), np.nan))
        except Exception as again:  # noqa: BLE001 - as above
            raise StreamError(f"the graph of {self.model.scorer.folder} fails on every row: {again}") from error

    def _verdicts(self, judged: Judged, batch: Batch) -> Iterator[RecordVerdict]:
        """Give the verdicts, those on anomalies with their reasons."""
        verdicts, rows = judged.verdicts, judged.numbers
        told = [verdicts.score.tolist(), verdicts.p_value.tolist(), flags_of(verdicts)]
        told += [itertools.repeat(self.model.name), itertools.repeat(self.model.version), batch.origins(rows)]
        told += [each.tolist() for each in verdicts.classes] if verdicts.classes else [itertools.repeat(UNSET)] * 2
        reasons = reasons_of(judged)
        told.append(placed(reasons, len(rows)))
        told.append(states_of(verdicts) or itertools.repeat(UNSET))
        return map(RecordVerdict, *told)


@contextlib.contextmanager
def _as_one(run: Series | None) -> Iterator[None]:
    """Leave no trace in the windows of rows that could not all be judged."""
    if run is None:
        yield
        return
    run.windows.savepoint()
    try:
        yield
    except BaseException:
        run.windows.rollback()
        raise
    run.windows.release()


def _halves(lines: RecordBatch) -> tuple[RecordBatch, RecordBatch]:
    """Cut rows in two; what was rejected already goes with the first."""
    cut, rows = len(lines.rows) // 2, range(len(lines.rows))
    return taken(lines, rows[:cut]), taken(lines, rows[cut:])._replace(rejects=[])


def taken(lines: RecordBatch, places: Sequence[int]) -> RecordBatch:
    """Give some of the rows, and everything that was rejected."""
    values = {key: [found[place] for place in places] for key, found in lines.values.items()}
    return RecordBatch(values, [lines.rows[place] for place in places], lines.rejects, 0, lines.typed)


def nothing(lines: RecordBatch, *further: Reject) -> RecordBatch:
    """Give no row, and everything that was rejected."""
    return taken(lines, ())._replace(rejects=[*lines.rejects, *further])


def keys_in(values: Sequence[Scalar], missing: Sequence[str]) -> list[str | None]:
    """Give the series that rows name, as they are told apart; None where one names none."""
    texts = cells.texts(column("", values, (), typed=False), cells.missing_words(missing)).to_list()
    return [text and cells.category_text(text) for text in texts]
