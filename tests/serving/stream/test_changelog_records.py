"""Windows survive the way through records; records that do not fit make their key warm up."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from detector.scorer import Scorer
from detector.windows import Window, Windows
from serving.stream.changelog_records import (
    ChangelogRecord,
    encode_changes,
    layout_hash,
    restore_windows,
    tombstones,
)

WINDOW = Window(time="ts", key="machine", length=3, max_gap=60.0)
LAYOUT = b"layout 1"


def written(windows: Windows, rows: int, first: int = 0, key: str = "press") -> list[ChangelogRecord]:
    """Add rows of a key, and return the records of the changes."""
    numbers = np.arange(first, first + rows, dtype=np.float64)
    windows.savepoint()
    windows.update([key] * rows, numbers, np.stack([numbers, -numbers], axis=1))
    records = [record for changed in windows.changed() for record in encode_changes(4, changed, LAYOUT)]
    windows.release()
    return records


def restored(records: list[ChangelogRecord]) -> tuple[Windows, tuple[int, int]]:
    windows = Windows(WINDOW, 2)
    return windows, restore_windows(records, {4: windows}, LAYOUT)


def test_a_batch_writes_only_its_new_rows_and_windows_are_restored() -> None:
    windows = Windows(WINDOW, 2)
    first, second, third = written(windows, 2), written(windows, 1, 2), written(windows, 2, 3)
    assert [[record.ring_index for record in records] for records in (first, second, third)] == [[0, 1], [2], [0, 1]]
    again, counts = restored([*second, *third])  # as compaction leaves them
    assert counts == (3, 0)
    assert again.save("press") == windows.save("press")
    assert len(written(Windows(WINDOW, 2), 10)) == 3


def with_number(number: int) -> Callable[[bytes], bytes]:
    return lambda value: value[:12] + struct.pack("<q", number) + value[20:]


INVALID: dict[str, Callable[[bytes], bytes | None]] = {
    "number 0": with_number(0),
    "negative number": with_number(-5),
    "largest number": with_number(2**63 - 1),
    "smallest number": with_number(-(2**63)),
    "another format": lambda value: b"RSS2" + value[4:],
    "another layout": lambda value: value[:4] + b"layout 2" + value[12:],
    "truncated": lambda value: value[:-1],
    "empty": lambda _: b"",
    "deleted": lambda _: None,
}


@pytest.mark.parametrize("invalid", INVALID)
def test_a_key_with_an_invalid_record_is_skipped(invalid: str) -> None:
    records = written(Windows(WINDOW, 2), 5)
    lathe = written(Windows(WINDOW, 2), 3, key="lathe")
    windows, counts = restored([records[0]._replace(value=INVALID[invalid](records[0].value or b"")), *records[1:], *lathe])
    assert len(windows) == 1
    assert counts[0] == 6
    windows.save("lathe")


def test_a_deleted_key_is_gone_and_is_not_counted_as_skipped() -> None:
    records = written(Windows(WINDOW, 2), 3)
    windows, counts = restored([*records, *tombstones(4, "press", WINDOW)])
    assert counts == (6, 0)
    assert not len(windows)
    assert restored([records[0]._replace(ring_index=3)])[1] == (1, 0)  # of a longer window


def test_the_layout_depends_on_columns_and_window(presses: tuple[Path, str]) -> None:
    manifest = Scorer.open(presses[0], "cpu").manifest
    assert manifest.window
    assert len(layout_hash(manifest)) == 8

    def with_window(**changes: object) -> bytes:
        return layout_hash(msgspec.structs.replace(manifest, window=msgspec.structs.replace(manifest.window, **changes)))

    assert with_window(tail=7) == layout_hash(manifest)  # reasons alone depend on it
    assert with_window(max_gap=61.0) != layout_hash(manifest)
    fewer = msgspec.structs.replace(manifest, columns=manifest.columns[1:])
    assert layout_hash(fewer) != layout_hash(manifest)
