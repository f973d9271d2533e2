"""Keys of JSON rows that no column is read from, most likely misspelt ones, and columns for which rows have no key.

Rows are looked at only where a batch has other keys or missing cells, and of many rows only some, so that the cost does not grow
with the batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from detector.batch import ColumnDifferences, RecordBatch
from detector.files.json_lines import Records, keys_of
from serving.model import ServedModel

MAX_NAMES = 10
MAX_LENGTH = 80  # characters of a name
MAX_ROWS = 100  # that are looked at, evenly spaced

Row = bytes | msgspec.Raw


def with_differences(batch: RecordBatch, rows: Callable[[], Sequence[Row | None]], model: ServedModel) -> RecordBatch:
    """Return a batch with the differences between its keys and a model's columns; `rows` returns its rows, undecoded."""
    step = 1 + (len(batch.rows) + len(batch.rejects)) // (MAX_ROWS + 1)
    is_same = batch.flat and type(batch.values) is Records and not batch.values.have_missing(step)
    return batch if is_same else batch._replace(differences=_differences(rows()[::step], model))


def _differences(rows: Sequence[Row | None], model: ServedModel) -> ColumnDifferences:
    """Count unknown and missing keys; rows without any key, such as those that are no objects, are not counted."""
    unknown: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for keys, count in Counter(keys_of(row) for row in rows if row).items():
        if keys:
            unknown.update(dict.fromkeys((key for key in keys if key not in model.known), count))
            missing.update(dict.fromkeys((column.name for column in model.scorer.columns if column.name not in keys), count))
    return ColumnDifferences({_shortened(name): unknown[name] for name in list(unknown)[:MAX_NAMES]}, missing)


def _shortened(name: str) -> str:
    return name if len(name) <= MAX_LENGTH else f"{name[: MAX_LENGTH - 1]}…"
