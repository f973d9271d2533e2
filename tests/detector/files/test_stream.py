"""Files that cannot be opened or read raise one-line errors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import pytest

from detector.errors import TableError
from detector.files import open_source

CSV = b"a,b\n1,x\n2,y\n"


def test_closed_standard_input_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(TableError, match="standard input is closed"):
        open_source("-")


def test_a_missing_file_is_an_error_with_similar_names(tmp_path: Path) -> None:
    (tmp_path / "pumps.csv").write_bytes(CSV)
    with pytest.raises(TableError, match=r"pump\.csv does not exist; similar: .*pumps\.csv"):
        open_source(str(tmp_path / "pump.csv"))
    with pytest.raises(TableError, match="nor does the folder"):
        open_source(str(tmp_path / "no" / "pump.parquet"))


@pytest.mark.parametrize("suffix", ["", ".csv", ".parquet"])
def test_a_folder_is_an_error_with_advice(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / f"days{suffix}"
    folder.mkdir()
    with pytest.raises(TableError, match=r"is a folder: name its files, for instance '.*\*\.csv'"):
        open_source(str(folder))


def test_a_file_without_permission_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)  # root may read everything, so the mode bits cannot show it
    with pytest.raises(TableError, match="cannot be opened: Permission denied"):
        open_source(str(tmp_path / "t.csv"))


def test_a_failing_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(CSV)
    source = open_source(str(path))

    def fail(_size: int) -> NoReturn:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(source._stream, "_bytes", type("Broken", (), {"read": staticmethod(fail)}))  # noqa: SLF001
    with source, pytest.raises(TableError, match="cannot be read: Input/output error"):
        list(source.blocks(["a"]))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ndjson")
