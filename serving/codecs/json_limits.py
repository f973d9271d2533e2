"""Limits on JSON: how deep it may be nested, and how long a text may be."""

from __future__ import annotations

import numpy as np

from detector.batch import RecordBatch
from detector.rejects import Reject


def depth(text: bytes) -> int:
    """Return how deep lists and objects are nested."""
    cells = np.frombuffer(text.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)
    outside = np.cumsum(cells == ord('"')) % 2 == 0
    opened = outside & ((cells == ord("{")) | (cells == ord("[")))
    closed = outside & ((cells == ord("}")) | (cells == ord("]")))
    return int(np.cumsum(opened.astype(np.int64) - closed).max(initial=0))


def without_long_texts(batch: RecordBatch, max_text: int) -> RecordBatch:
    """Reject the records that hold a text of more than `max_text` characters; typed columns of numbers hold none."""
    numbers = set(batch.numbers) if batch.typed else set()
    too_long: dict[int, str] = {}
    for key in batch.values if batch.values.keys() - numbers else ():
        if key in numbers:
            continue
        for at, cell in enumerate(batch.values[key]):
            if type(cell) is str and len(cell) > max_text:
                too_long.setdefault(at, key)
    if not too_long:
        return batch
    rejects = [
        Reject(batch.rows[at], key, f"a text of {len(str(batch.values[key][at])):,} characters", f"at most {max_text:,}")
        for at, key in too_long.items()
    ]
    kept = batch.select([at for at in range(len(batch.rows)) if at not in too_long])
    return kept._replace(rejects=[*batch.rejects, *rejects])
