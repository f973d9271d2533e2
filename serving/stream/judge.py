"""A batch to verdicts and dead letters, by the rules of every other door.

A clean batch is decoded at once; of any other each record is decoded by itself, so that only bad ones become letters.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec
import numpy as np
from msgspec import UNSET

from detector.errors import StreamError
from detector.files.json_lines import Lines, show
from detector.rejects import Reject
from serving.log import fault, log
from serving.model import Judged, Model
from serving.nesting import depth, without_long_texts
from serving.stream.protocol import Batch, Letter, Outcome, Verdict, Why
from serving.words import flags_of, reasons_of, states_of


class Limits(msgspec.Struct, frozen=True):
    """What is still judged, and how much is said of an anomaly."""

    max_record: int  # bytes
    max_depth: int  # lists and objects inside each other
    max_text: int  # characters of one cell
    reasons: int = 3


class Judge:
    """Judges batches by one version of a model."""

    def __init__(self, model: Model, limits: Limits) -> None:
        self.model = model
        self._limits = limits
        self._decoder = model.lines()

    def __call__(self, batch: Batch) -> Outcome:
        """Judge a batch.

        Raises:
            StreamError: the graph fails on every row.
        """
        whys: dict[int, Why] = {}
        lines = self._read(batch, whys)
        if len(batch.block) > self._limits.max_text:
            lines = self._without_long_texts(lines, whys)
        parts = list(self._judged(lines, whys))
        verdicts = list(itertools.chain.from_iterable(self._verdicts(part, batch) for part in parts))
        at = parts[0].numbers if len(parts) == 1 else [row for part in parts for row in part.numbers]
        letters = [Letter(each.row, _why(each, whys), each) for part in parts for each in part.rejects]
        return Outcome(batch, verdicts, at, sorted(letters))

    def _read(self, batch: Batch, whys: dict[int, Why]) -> Lines:
        """Decode a batch; rows are numbered by their place in it."""
        block, limits = batch.block, self._limits
        if len(block) <= limits.max_record or max(map(len, filter(None, batch.values)), default=0) <= limits.max_record:
            flat = _opened(block) <= len(batch)
            lines = self._decoder.read_clean(block, 0) if flat else None
            if lines and len(lines.rows) == len(batch):
                return lines
        return self._read_each(batch, whys)

    def _read_each(self, batch: Batch, whys: dict[int, Why]) -> Lines:
        """Decode record by record."""
        rows, records, rejects = [], [], []
        for at, value in enumerate(batch.values):
            if batch.is_blank(at):
                continue
            record = self._limited(at, value, whys) or self._decoder.read_one(value or b"", at)
            if isinstance(record, Reject):
                rejects.append(record)
            else:
                rows.append(at)
                records.append(record)
        values = {key: [record[key] for record in records] for key in self.model.columns}
        return Lines(values, rows, rejects, 0, typed=False)

    def _limited(self, at: int, value: bytes | None, whys: dict[int, Why]) -> Reject | None:
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

    def _without_long_texts(self, lines: Lines, whys: dict[int, Why]) -> Lines:
        """Reject the rows that hold a text that is too long."""
        kept = without_long_texts(lines, self._limits.max_text, self.model.numbers)
        whys.update((each.row, "too big") for each in kept.rejects[len(lines.rejects) :])
        return kept

    def _judged(self, lines: Lines, whys: dict[int, Why]) -> Iterator[Judged]:
        """Judge rows; where the scorer fails, find the row on which it does, and judge the others."""
        try:
            judged = self.model.judge(lines, self._limits.reasons)
        except Exception as error:  # noqa: BLE001 - whatever a row does to a graph
            self._check_graph(error)
            if len(lines.rows) > 1:
                for half in _halves(lines):
                    yield from self._judged(half, whys)
                return
            log().warning("scorer failed", **fault(error))
            (row,) = lines.rows
            whys[row] = "scorer failed"
            found = show(msgspec.json.encode({key: cells[0] for key, cells in lines.values.items()}))
            poison = Reject(row, "", found, f"a row that can be scored ({type(error).__name__})")
            nothing = Lines(dict.fromkeys(lines.values, ()), (), [*lines.rejects, poison], 0, lines.typed)
            judged = self.model.judge(nothing, self._limits.reasons)
        yield judged

    def _check_graph(self, error: Exception) -> None:
        """Make sure that the scorer fails on some rows only.

        Raises:
            StreamError: it fails on a row of holes too.
        """
        try:
            self.model.scorer.graph.scores(np.full((1, len(self.model.columns)), np.nan))
        except Exception as again:  # noqa: BLE001 - as above
            raise StreamError(f"the graph of {self.model.scorer.folder} fails on every row: {again}") from error

    def _verdicts(self, judged: Judged, batch: Batch) -> Iterator[Verdict]:
        """Give the verdicts, those on anomalies with their reasons."""
        verdicts, rows = judged.verdicts, judged.numbers
        told = [verdicts.score.tolist(), verdicts.p_value.tolist(), flags_of(verdicts)]
        told += [itertools.repeat(self.model.name), itertools.repeat(self.model.version), batch.origins(rows)]
        told += [each.tolist() for each in verdicts.classes] if verdicts.classes else [itertools.repeat(UNSET)] * 2
        reasons = reasons_of(judged)
        told.append([reasons.get(at, UNSET) for at in range(len(rows))] if reasons else itertools.repeat(UNSET))
        told.append(states_of(verdicts) or itertools.repeat(UNSET))
        return map(Verdict, *told)


def _opened(block: bytes) -> int:
    """Count the lists and objects of a block, and those brackets in texts that look like some."""
    cells = np.frombuffer(block, np.uint8)  # four times as fast as counting bytes
    return int(np.count_nonzero(cells == ord("{")) + np.count_nonzero(cells == ord("[")))


def _halves(lines: Lines) -> tuple[Lines, Lines]:
    """Cut rows in two; what was rejected already goes with the first."""
    cut = len(lines.rows) // 2
    first = {key: cells[:cut] for key, cells in lines.values.items()}
    second = {key: cells[cut:] for key, cells in lines.values.items()}
    return (
        Lines(first, lines.rows[:cut], lines.rejects, 0, lines.typed),
        Lines(second, lines.rows[cut:], [], 0, lines.typed),
    )


def _why(reject: Reject, whys: dict[int, Why]) -> Why:
    """Give the word for a reject."""
    return whys.get(reject.row) or ("wrong type" if reject.column else "not JSON")
