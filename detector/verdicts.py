"""Verdicts: what a detector returns for a batch, and the one definition of a verdict's fields.

`VerdictFields` names each field with its type and meaning. Every format derives its layout from it: tables (CSV, Parquet,
Arrow, frames) through `Verdicts.table`, JSON objects through `record_type` and `Verdicts.records`, the Open Inference
Protocol through `Verdicts.values`, OpenAPI through msgspec's schema functions.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args

import msgspec
import numpy as np
import polars as pl
from msgspec import UNSET, Meta, UnsetType

from detector.batch import NO_DIFFERENCES, ColumnDifferences, Rows
from detector.classifier import ClassPredictions
from detector.reasons import NO_REASONS, Reason, Reasons
from detector.rejects import Reject
from detector.windows import ROW_STATUS, SCORED

T = TypeVar("T")
Field = tuple[str, Any] | tuple[str, Any, Any]  # as msgspec.defstruct takes it


class VerdictFields(msgspec.Struct):
    """The verdict on a row; fields without a value in a verdict are left out of JSON and null in tables."""

    anomaly_score: Annotated[float | None, Meta(description="How badly the row is reconstructed; higher is more abnormal")]
    p_value: Annotated[float | None, Meta(description="The share of normal rows that score at least as high")]
    is_anomaly: Annotated[bool | None, Meta(description="Whether the score is above the threshold; in a series, the alarm")]
    state: Annotated[
        Literal["scored", "warming up", "between windows"] | UnsetType,
        Meta(description="For a row of a series: whether it has a score"),
    ] = UNSET
    class_: Annotated[str | UnsetType, Meta(description="The most probable class, if the model was fine-tuned")] = msgspec.field(
        default=UNSET, name="class"
    )
    class_probability: Annotated[float | UnsetType, Meta(description="The probability of that class")] = UNSET
    reasons: Annotated[list[Reason] | UnsetType, Meta(description="For an anomaly: the columns to blame")] = UNSET


FIELDS = {field.encode_name: field for field in msgspec.structs.fields(VerdictFields)}


class Verdicts(NamedTuple):
    """The verdicts on a batch; all arrays hold its accepted rows, in order."""

    rows: Rows  # the number of each accepted row
    score: np.ndarray  # float64[accepted rows], nats; NaN where a row of a series has no score
    p_value: np.ndarray  # float64[accepted rows]
    is_anomaly: np.ndarray  # bool[accepted rows]
    reasons: Reasons  # of the rows that were to be explained
    accepted: np.ndarray  # bool[rows of the batch]
    rejects: list[Reject]  # rows that could not be decoded or encoded, in no particular order
    infinite: int  # cells that spelt an infinity, taken as missing
    matrix: np.ndarray  # float64[accepted rows, columns], as the graph takes them
    classes: ClassPredictions | None = None  # where the bundle has a classifier
    row_status: np.ndarray | None = None  # int8[accepted rows] of a series: `detector.windows.ROW_STATUS`
    alarms: int = 0  # of a series: how many began
    differences: ColumnDifferences = NO_DIFFERENCES  # of the batch

    @property
    def is_scored(self) -> np.ndarray:
        """Whether each accepted row has a score, `bool[accepted rows]`: all but some of a series."""
        return self.row_status == SCORED if self.row_status is not None else np.ones(len(self.score), dtype=bool)

    @property
    def not_scored(self) -> int | None:
        """How many accepted rows of a series have no score; None where rows are scored one by one."""
        return None if self.row_status is None else int(np.count_nonzero(self.row_status != SCORED))

    @property
    def row_numbers(self) -> Sequence[int]:
        """The rows' numbers as Python integers."""
        return self.rows.tolist() if isinstance(self.rows, np.ndarray) else self.rows

    @property
    def states(self) -> np.ndarray | None:
        """The state of each row of a series, as text."""
        return None if self.row_status is None else _STATES[self.row_status]

    @property
    def values(self) -> dict[str, np.ndarray]:
        """The arrays of the fields that these verdicts have, but for the reasons."""
        found = {name: value_of(self) for name, value_of in _VALUE_OF.items()}
        return {name: value for name, value in found.items() if value is not None}

    def table(self) -> pl.DataFrame:
        """Return one line per accepted row, without reasons; null where a row of a series has no score."""
        frame = pl.DataFrame([pl.Series(name, value, dtype=DTYPES[name]) for name, value in self.values.items()])
        if self.row_status is None:
            return frame
        scored = pl.lit(pl.Series(self.is_scored))
        return frame.with_columns(pl.when(scored).then(name).alias(name) for name in REQUIRED)

    def records(
        self, record: Callable[..., T], before: Sequence[Iterable[Any]] = (), after: Sequence[Iterable[Any]] = ()
    ) -> Iterator[T]:
        """Return a record of each accepted row; `before` and `after` as in `record_type`."""
        flags = self.is_anomaly.tolist() if self.row_status is None else self._flags()
        required = [self.score.tolist(), self.p_value.tolist(), flags]
        if (self.reasons is NO_REASONS or not self.reasons) and self.classes is None and self.row_status is None:
            return map(record, *before, *required, *after)
        unset = itertools.repeat(UNSET)
        states = self.states
        optional: list[Iterable[Any]] = [unset if states is None else states.tolist()]
        optional += [values.tolist() for values in self.classes] if self.classes else [unset, unset]
        return map(record, *before, *required, *after, *optional, self._reason_lists())

    def whole(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return a table of the accepted rows with a line of nulls in the place of each rejected one."""
        if self.accepted.all():
            return frame
        lines = np.where(self.accepted, np.cumsum(self.accepted) - 1, frame.height)
        return pl.concat([frame, frame.clear(1)])[lines]

    def _flags(self) -> list[bool | None]:
        """Return the flags of a series, None where a row has no score."""
        flags = zip(self.is_anomaly.tolist(), self.is_scored.tolist(), strict=True)
        return [flag if scored else None for flag, scored in flags]

    def _reason_lists(self) -> list[Sequence[Reason] | UnsetType]:
        reasons: list[Sequence[Reason] | UnsetType] = [UNSET] * len(self.score)
        for at, of_row in self.reasons.by_row().items():
            reasons[at] = of_row
        return reasons


def record_type(name: str, *, before: Sequence[Field] = (), after: Sequence[Field] = ()) -> type[msgspec.Struct]:
    """Return a struct with a verdict's fields; `before` come first, `after` behind the fields that every verdict has."""
    optional: list[Field] = [
        (field.name, field.type, msgspec.field(default=UNSET, name=field.encode_name))
        for field in FIELDS.values()
        if not field.required
    ]
    required: list[Field] = [(field.name, field.type) for field in FIELDS.values() if field.required]
    return msgspec.defstruct(name, [*before, *required, *after, *optional], frozen=True, gc=False)


def _dtype(field: msgspec.structs.FieldInfo) -> pl.DataType:
    kinds = get_args(get_args(field.type)[0])  # of Annotated[kind | ..., Meta(...)]
    return pl.Float64() if float in kinds else pl.Boolean() if bool in kinds else pl.String()


REQUIRED = tuple(name for name, field in FIELDS.items() if field.required)
_STATES = np.array(ROW_STATUS, dtype=object)
DTYPES = {name: _dtype(field) for name, field in FIELDS.items() if name != "reasons"}
_VALUE_OF: Mapping[str, Callable[[Verdicts], np.ndarray | None]] = {
    "anomaly_score": lambda verdicts: verdicts.score,
    "p_value": lambda verdicts: verdicts.p_value,
    "is_anomaly": lambda verdicts: verdicts.is_anomaly,
    "state": lambda verdicts: verdicts.states,
    "class": lambda verdicts: verdicts.classes and verdicts.classes.name,
    "class_probability": lambda verdicts: verdicts.classes and verdicts.classes.probability,
}
assert [*_VALUE_OF, "reasons"] == [*FIELDS]  # noqa: S101 - a field without its value would be lost in every format
__all__ = ["DTYPES", "FIELDS", "NO_REASONS", "REQUIRED", "VerdictFields", "Verdicts", "record_type"]
