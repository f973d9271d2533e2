"""Verdicts in words: the same at every door where rows keep coming."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import attrgetter

import msgspec
import polars as pl
from msgspec import UNSET, UnsetType

from detector.row_reasons import Reason
from detector.scorer import NO_REASONS, Verdicts
from detector.windows import FATES, JUDGED
from serving.model import Judged


class Row(msgspec.Struct, frozen=True, gc=False):
    """The verdict on a row; anomalies have reasons, and rows a class where the bundle has a classifier.

    Of a series there is a state too, and no score, p-value or verdict of a row that was not judged (NaN is null in JSON).
    """

    row: int
    anomaly_score: float | None
    p_value: float | None
    is_anomaly: bool | None
    class_: str | UnsetType = msgspec.field(default=UNSET, name="class")
    class_probability: float | UnsetType = UNSET
    reasons: list[Reason] | UnsetType = UNSET
    state: str | UnsetType = UNSET


class Fault(msgspec.Struct, frozen=True):
    """Why a row was rejected."""

    column: str
    found: str
    expected: str


class Rejected(msgspec.Struct, frozen=True):
    """A row that was not scored."""

    row: int
    rejected: Fault


def in_order(judged: Judged, *, only_anomalies: bool) -> list[Row | Rejected]:
    """Give the verdicts and the rejected rows in the order in which they came."""
    said: list[Row | Rejected] = [*_rows(judged)]
    if only_anomalies:
        said = [one for one in said if isinstance(one, Row) and one.is_anomaly]
    if judged.rejects:
        said += [Rejected(each.row, Fault(each.column, each.found, each.expected)) for each in judged.rejects]
        said.sort(key=attrgetter("row"))
    return said


def _rows(judged: Judged) -> Iterator[Row]:
    """Give the verdicts, those on anomalies with their reasons."""
    verdicts, rows = judged.verdicts, judged.numbers
    told = [rows, verdicts.score.tolist(), verdicts.p_value.tolist(), flags_of(verdicts)]
    reasons = reasons_of(judged)
    if not reasons and verdicts.classes is None and verdicts.fates is None:
        return map(Row, *told)
    nothing = [UNSET] * len(rows)
    told += [each.tolist() for each in verdicts.classes] if verdicts.classes else [nothing, nothing]
    return map(Row, *told, placed(reasons, len(rows)), states_of(verdicts) or nothing)


def flags_of(verdicts: Verdicts) -> list[bool | None]:
    """Give `is_anomaly` of each row, None of a row of a series that was not judged."""
    flags: list[bool | None] = verdicts.is_anomaly.tolist()
    if verdicts.fates is None:
        return flags
    return [flag if fate == JUDGED else None for flag, fate in zip(flags, verdicts.fates.tolist(), strict=True)]


def states_of(verdicts: Verdicts) -> list[str]:
    """Give the state of each row of a series in words; nothing of single rows."""
    return [] if verdicts.fates is None else [FATES[fate] for fate in verdicts.fates.tolist()]


def reasons_of(judged: Judged) -> Mapping[int, list[Reason]]:
    """Give the reasons of each row that has any, by its place among the scored ones."""
    if judged.reasons or judged.verdicts.reasons is NO_REASONS:
        return judged.reasons
    return grouped(judged.verdicts.reasons)


def placed(reasons: Mapping[int, list[Reason]], rows: int) -> list[list[Reason] | UnsetType]:
    """Give the reasons of each of so many rows."""
    told: list[list[Reason] | UnsetType] = [UNSET] * rows
    for at, some in reasons.items():
        told[at] = some
    return told


def grouped(reasons: pl.DataFrame) -> dict[int, list[Reason]]:
    """Gather the reasons of each row."""
    by_row: dict[int, list[Reason]] = {}
    columns = (reasons[name].to_list() for name in ("at", "column", "found", "expected", "share"))
    for at, *reason in zip(*columns, strict=True):
        by_row.setdefault(at, []).append(Reason(*reason))
    return by_row
