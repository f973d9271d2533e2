"""Sinks write each format completely or not at all."""

import errno
import os
from pathlib import Path

import polars as pl
import pytest

from detector.errors import OutputError, SettingError
from serving.files import output
from serving.files.sinks import FileSink, LazySink, committed, format_of, open_sink

FRAME = pl.DataFrame({"row": [2, 3], "text": ["a,b", None], "why": [[{"column": "x", "share": 0.5}], None]})
FLAT = FRAME.drop("why")


def write(frame: pl.DataFrame, *sinks: FileSink) -> None:
    """Write one frame to every sink."""
    with committed(*sinks):
        for sink in sinks:
            sink.add(frame)


@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz", "o.csv.zst", "o.ndjson", "o.jsonl.zst", "o.parquet", "o"])
def test_added_rows_are_read_back(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    is_csv = format_of(name)[0] == "csv"
    frame = FLAT if is_csv else FRAME
    sink = open_sink(str(path))
    with committed(sink):
        sink.add(frame)
        assert not path.exists()
        sink.add(frame.head(0))
        sink.add(frame)
    assert list(tmp_path.iterdir()) == [path]
    read = {"csv": pl.read_csv, "ndjson": pl.read_ndjson, "parquet": pl.read_parquet}[format_of(name)[0]]
    assert read(path).equals(pl.concat([frame, frame]))


@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz", "o.parquet", "o.ndjson.zst"])
@pytest.mark.parametrize("added", [0, 1, 5])
def test_an_interrupted_sink_leaves_nothing(name: str, added: int, tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / name))

    def interrupted() -> None:
        with committed(sink):
            for _ in range(added):
                sink.add(FLAT)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz", "o.parquet"])
def test_a_full_disk_leaves_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(output.os, "fsync", full)
    sinks = open_sink(str(tmp_path / name)), LazySink(str(tmp_path / "rejects.csv"))
    with pytest.raises(OutputError, match="No space left on device"):
        write(FLAT, *sinks)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_device_is_an_output_error(form: str, tmp_path: Path) -> None:
    link = tmp_path / f"full.{form}"
    link.symlink_to("/dev/full")
    sink = open_sink(str(link))
    with pytest.raises(OutputError, match="No space left"):
        write(pl.concat([FLAT] * 200_000), sink)
    assert link.is_char_device()


def test_a_lazy_sink_without_rows_removes_the_old_file(tmp_path: Path) -> None:
    old = tmp_path / "rejects.csv"
    old.write_text("from an earlier run")
    with committed(LazySink(str(old))):
        pass
    assert not list(tmp_path.iterdir())


def test_a_link_stays_a_link_and_a_file_has_the_usual_mode(tmp_path: Path) -> None:
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    target.write_text("old")
    link.symlink_to(target)
    sink = open_sink(str(link))
    with committed(sink):
        sink.add(FLAT)
    assert link.is_symlink()
    assert target.read_text().startswith("row,text")
    plain = tmp_path / "plain"
    plain.touch()
    assert target.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("name", ["o.xlsx", "o.tsv", "o.json", "o.parquet.gz", "o.zip"])
def test_an_unsupported_format_is_an_error(name: str) -> None:
    with pytest.raises(SettingError, match=r"supported outputs are \.csv"):
        format_of(name)
