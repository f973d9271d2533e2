"""`residuum score` and `train` on bad input: one error line, or rejected rows whose neighbours are scored."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.residuum.cli.running import Run, edit_line, error_line

BAD_ROWS = {
    "text in a number": (lambda old: b"warm" + old[old.index(b",") :], "temperature", "warm", "a number"),
    "beyond float64": (lambda old: b"1e400" + old[old.index(b",") :], "temperature", "1e400", "a number"),
    "too few fields": (lambda old: old[: old.rindex(b",")], "", "9 fields", "10 fields"),
    "too many fields": (lambda old: old + b",1,2", "", "12 fields", "10 fields"),
    "no UTF-8": (lambda old: b"\xff\xfe" + old, "temperature", "\\xff\\xfe", "UTF-8"),
    "a broken quote": (lambda old: b'"' + old, "temperature", "", ""),
}


@pytest.mark.parametrize("fault", BAD_ROWS)
def test_a_bad_row_is_rejected_and_its_neighbours_are_scored(fault: str, run: Run, model: Path, table: Path) -> None:
    change, column, found, expected = BAD_ROWS[fault]
    assert run("score", model, table, "--to", "whole.csv").exit_code == 0
    edit_line(table, 7, change)
    result = run("score", model, table, "--to", "out.csv")
    assert result.exit_code == 0, result.output
    assert "1 row, see out.rejects.csv" in result.stdout
    (reject,) = pl.read_csv("out.rejects.csv", infer_schema=False).fill_null("").iter_rows(named=True)
    assert list(reject) == ["row", "column", "found", "expected"]
    assert (reject["row"], reject["column"]) == ("7", column)
    assert found in reject["found"]
    assert expected in reject["expected"]
    out, whole = pl.read_csv("out.csv"), pl.read_csv("whole.csv")
    assert out["row"].to_list() == [row for row in range(2, 102) if row != 7]
    assert out["is_anomaly"].to_list() == whole.filter(pl.col("row") != 7)["is_anomaly"].to_list()


def test_strict_says_so_with_its_exit_code(run: Run, model: Path, table: Path) -> None:
    assert run("score", model, table, "--to", "whole.csv", "--strict").exit_code == 0
    edit_line(table, 7, lambda old: b"x" + old)
    assert run("score", model, table, "--to", "out.csv", "--strict", "--rejects", "bad.ndjson").exit_code == 3
    assert pl.read_ndjson("bad.ndjson")["row"].to_list() == [7]
    assert pl.read_csv("out.csv").height == 99


def test_rejects_of_several_files_name_them(run: Run, model: Path, table: Path, rows: pl.DataFrame) -> None:
    rows.write_csv("a.csv")
    edit_line(table, 9, lambda old: b"x" + old)
    assert run("score", model, "a.csv", table, "--to", "out.csv").exit_code == 0
    assert pl.read_csv("out.rejects.csv")["file", "row"].rows() == [(str(table), 9)]


def test_blank_lines_and_infinities_are_counted(run: Run, model: Path, table: Path) -> None:
    edit_line(table, 7, lambda old: b"\ninf" + old[old.index(b",") :])
    result = run("score", model, table, "--to", "out.csv")
    assert "1 blank line skipped, 1 infinite number" in result.stdout
    assert pl.read_csv("out.csv")["row"].to_list() == [row for row in range(2, 103) if row != 7]


def test_a_missing_column_is_named_before_anything_is_scored(run: Run, model: Path, table: Path, rows: pl.DataFrame) -> None:
    rows.rename({"pressure": "presure"}).write_csv("later.csv")
    message = error_line(run, "score", model, table, "later.csv", "--to", "out.csv")
    assert "later.csv" in message
    assert "'pressure'" in message
    assert "near: 'presure'" in message


def test_a_kept_column_that_is_not_there(run: Run, model: Path, table: Path) -> None:
    assert "near: 'machine'" in error_line(run, "score", model, table, "--to", "out.csv", "--keep", "machin")


def test_a_kept_column_by_a_name_that_is_taken(run: Run, model: Path, rows: pl.DataFrame) -> None:
    rows.with_columns(p_value=1).write_csv("in.csv")
    assert "'p_value'" in error_line(run, "score", model, "in.csv", "--to", "out.csv", "--keep", "p_value")


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "empty"), ("{header}\n", "a header "), ("a,b,a\n1,2,3\n", "'a' more than once"), (None, "does not exist")],
    ids=["empty", "header", "twice", "absent"],
)
def test_a_file_that_is_no_table(content: str | None, message: str, run: Run, model: Path, rows: pl.DataFrame) -> None:
    if content is not None:
        Path("in.csv").write_text(content.format(header=",".join(rows.columns)))
    assert message in error_line(run, "score", model, "in.csv", "--to", "out.csv")
    assert message in error_line(run, "train", "in.csv", "--to", "models/new")


def test_a_table_of_which_nothing_can_be_read(run: Run, rows: pl.DataFrame) -> None:
    header = ",".join(rows.columns)
    Path("in.csv").write_text(f"{header}\n1,2\n3,4\n")
    assert "nothing to train on; row 2: found 2 fields, expected" in error_line(run, "train", "in.csv", "--to", "models/new")


def test_outputs_that_must_not_be_written(run: Run, model: Path, table: Path) -> None:
    Path("there.csv").write_text("mine")
    Path("there.rejects.csv").write_text("mine too")
    assert "--force" in error_line(run, "score", model, table, "--to", "there.csv")
    Path("there.csv").unlink()
    assert "there.rejects.csv" in error_line(run, "score", model, table, "--to", "there.csv")
    assert "one of the files to read" in error_line(run, "score", model, table, "--to", table, "--force")
    assert "no folder" in error_line(run, "score", model, table, "--to", "no/out.csv")
    assert "empty" in error_line(run, "score", model, table, "--to", "")
    assert "too long" in error_line(run, "score", model, table, "--to", "a" * 300)
    assert "supported outputs are" in error_line(run, "score", model, table, "--to", "out.xlsx")
    assert "one of the files" in error_line(run, "score", model, table, "--to", "out.csv", "--rejects", "out.csv")
    assert run("score", model, table, "--to", "there.csv", "--force").exit_code == 0
    assert pl.read_csv("there.csv").height == 100
    assert not Path("there.rejects.csv").exists()  # it was from another run


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="the system has no folder that nobody may write to")
def test_a_folder_that_may_not_be_written(run: Run, model: Path, table: Path) -> None:
    assert "cannot write /proc/out.csv" in error_line(run, "score", model, table, "--to", "/proc/out.csv")


@pytest.mark.long  # it trains first
@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="the system has no folder that nobody may write to")
def test_a_model_folder_that_may_not_be_written(run: Run, table: Path) -> None:
    assert "cannot write" in error_line(run, "train", table, "--to", "/proc/models")


def test_train_looks_at_its_output_before_the_table(run: Run, table: Path) -> None:
    Path("few.csv").write_text("a,b\n1,2\n")
    assert "is a file" in error_line(run, "train", "few.csv", "--to", table)
    assert "is a file" in error_line(run, "train", "few.csv", "--to", table / "models")
    Path("old").mkdir()
    (Path("old") / "manifest.json").write_text("{}")
    assert "without a version number" in error_line(run, "train", "few.csv", "--to", "old")


def test_a_table_that_is_written_otherwise(run: Run, model: Path, rows: pl.DataFrame) -> None:
    rows.with_columns(
        temperature=pl.col("temperature").fill_null(1.5).cast(pl.String).str.replace(".", ",", literal=True)
    ).write_csv("in.csv", separator=";")
    message = run("score", model, "in.csv", "--to", "out.csv").stdout
    assert "100 rows, see out.rejects.csv" in message
    assert "warning    every row was rejected" in message


def test_a_device_that_is_not_there(run: Run, model: Path, table: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("it is there")
    message = error_line(run, "score", model, table, "--to", "out.csv", "--device", "cuda")
    assert "CPUExecutionProvider" in message


@pytest.mark.parametrize("stdin", [False, True])
def test_a_key_in_no_object_is_a_missing_column(run: Run, model: Path, rows: pl.DataFrame, *, stdin: bool) -> None:
    renamed = rows.rename({"temperature": "temprature"})
    renamed.write_ndjson("in.ndjson")
    message = renamed.write_ndjson().encode()
    result = run("score", model, "-" if stdin else "in.ndjson", "--to", "out.csv", stdin=message if stdin else None)
    assert result.exit_code == 2, result.output
    assert "lacks the column 'temperature' (near: 'temprature'); it has " in result.stderr
    assert not Path("out.csv").exists()


def test_one_object_that_has_the_key_is_enough(run: Run, model: Path, rows: pl.DataFrame) -> None:
    lines = rows.write_ndjson().splitlines()
    without = rows.drop("temperature").write_ndjson().splitlines()
    Path("in.ndjson").write_text("\n".join([*without[:-1], lines[-1]]))
    assert run("score", model, "in.ndjson", "--to", "out.csv").exit_code == 0
    assert pl.read_csv("out.csv").height == rows.height


def test_an_index_that_pandas_wrote_is_reported(run: Run, model: Path, rows: pl.DataFrame) -> None:
    rows.to_pandas().to_csv("in.csv")
    message = error_line(run, "score", model, "in.csv", "--to", "out.csv")
    assert "the header has no name for column 1 of " in message
    assert message.endswith(": name or drop it (pandas: to_csv(index=False))\n")
