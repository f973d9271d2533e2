"""What a row of JSON may not be: nested too deep, or with a text too long."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from detector.batch import RecordBatch
from detector.rejects import Reject


def depth(text: bytes) -> int:
    """Give how deep lists and objects lie inside each other."""
    cells = np.frombuffer(text.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)
    outside = np.cumsum(cells == ord('"')) % 2 == 0
    opened = outside & ((cells == ord("{")) | (cells == ord("[")))
    closed = outside & ((cells == ord("}")) | (cells == ord("]")))
    return int(np.cumsum(opened.astype(np.int64) - closed).max(initial=0))


def without_long_texts(lines: RecordBatch, most: int, numbers: Collection[str] = ()) -> RecordBatch:
    """Reject the rows that hold a text of more than `most` characters; columns of `numbers` hold none where they are typed."""
    if lines.typed and numbers and lines.values.keys() <= set(numbers):
        return lines
    long: dict[int, str] = {}
    for key in lines.values:
        if lines.typed and key in numbers:
            continue
        for at, cell in enumerate(lines.values[key]):
            if type(cell) is str and len(cell) > most:
                long.setdefault(at, key)
    if not long:
        return lines
    kept = [at for at in range(len(lines.rows)) if at not in long]
    values = {key: [cells[at] for at in kept] for key, cells in lines.values.items()}
    rejects = [
        Reject(lines.rows[at], key, f"a text of {len(str(lines.values[key][at])):,} characters", f"at most {most:,}")
        for at, key in long.items()
    ]
    return RecordBatch(values, [lines.rows[at] for at in kept], [*lines.rejects, *rejects], lines.blank, lines.typed)
