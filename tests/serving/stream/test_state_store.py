"""The state file: position and windows, and files that are no state files."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.errors import StreamError
from serving.stream.changelog_records import ChangelogRecord
from serving.stream.state_store import FilePosition, StateStore

POSITION = FilePosition(1, "", 0, 0, 1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    with contextlib.closing(StateStore(tmp_path / "state")) as opened:
        yield opened


def test_a_commit_replaces_the_position_and_the_changed_records(store: StateStore, tmp_path: Path) -> None:
    assert store.position() is None
    assert not list(store.records())
    press, lathe = ([ChangelogRecord(-1, key, index, b"%d" % index) for index in range(3)] for key in ("press", "ä"))
    store.commit(POSITION, [*press, *lathe])
    changed = press[1]._replace(value=b"new")
    store.commit(FilePosition(1, "head", 4, 10, 3), [press[1], changed, lathe[2]._replace(value=None)])
    with contextlib.closing(StateStore(tmp_path / "state")) as reopened:
        assert reopened.position() == FilePosition(1, "head", 4, 10, 3)
        assert list(reopened.records()) == [press[0], press[2], lathe[0], lathe[1], changed]


@pytest.mark.parametrize(
    "statement",
    [
        "update position set said = 7",
        """update position set said = '{"inode":1,"head":"","head_bytes":0,"offset":-5,"row":1}'""",
        "update slots set value = 7",
        "drop table slots",
    ],
)
def test_a_damaged_file_is_rejected(store: StateStore, tmp_path: Path, statement: str) -> None:
    store.commit(POSITION, [ChangelogRecord(-1, "press", 0, b"row")])
    with contextlib.closing(sqlite3.connect(tmp_path / "state")) as file, file:
        file.execute(statement)
    with pytest.raises(StreamError, match=r"is not a valid state file.*--state"):
        _ = store.position(), list(store.records())


def test_a_locked_file_is_not_called_damaged(store: StateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    store.commit(POSITION, [])
    monkeypatch.setattr(sqlite3, "connect", lambda path, **options: connect(path, timeout=0, **options))
    with contextlib.closing(connect(tmp_path / "state", isolation_level=None)) as other:
        other.execute("begin exclusive")
        with contextlib.closing(StateStore(tmp_path / "state")) as opened:
            with pytest.raises(StreamError, match=r"cannot read the position in .*: database is locked"):
                opened.position()
            other.execute("rollback")
            assert opened.position() == POSITION


def test_another_programs_database_is_rejected_and_not_changed(store: StateStore, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "state")) as file, file:
        file.execute("create table invoices (number integer)")
    before = (tmp_path / "state").read_bytes()
    with pytest.raises(StreamError, match=r"another program's database.*--state"):
        store.position()
    with pytest.raises(StreamError, match="another program's database"):
        store.commit(POSITION, [])
    assert (tmp_path / "state").read_bytes() == before
