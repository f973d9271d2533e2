"""Files of normal rows as one table, whatever their format."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.errors import TableError
from detector.files import ReadOptions, blocks
from residuum.cli.training_table import read


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_columns_of_ndjson_are_the_keys_of_all_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8)
    Path("1.ndjson").write_text('{"a":1}\n{"a":2}\n[]\n{"b":"x","a":3}\n{"c":true}\n')
    Path("2.ndjson").write_text('{}\n{"d":4,"b":"y"}\n')
    whole = read(["1.ndjson", "2.ndjson"], ReadOptions())
    assert whole.table.frame.to_dict(as_series=False) == {
        "a": ["1", "2", "3", None, None, None],
        "b": [None, None, "x", None, None, "y"],
        "c": [None, None, None, "true", None, None],
        "d": [None, None, None, None, None, "4"],
    }
    assert len(whole.table.rows) == 6
    assert [reject.row for reject in whole.table.rejects] == [3]


def test_ndjson_beside_csv_has_its_columns_in_all_files_together() -> None:
    Path("0.csv").write_text("a,b\n1,2\n")
    Path("1.ndjson").write_text('{"a":1}\n')
    Path("2.ndjson").write_text('{"b":5}\n')
    assert read(["0.csv", "1.ndjson", "2.ndjson"], ReadOptions()).table.frame.rows() == [("1", "2"), ("1", None), (None, "5")]
    with pytest.raises(TableError, match=r"1.ndjson has other columns than 0.csv: it lacks 'b'"):
        read(["0.csv", "1.ndjson"], ReadOptions())
