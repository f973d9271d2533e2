"""`residuum score` as nightly runs use it: dated outputs, exit code 4, the JSON summary, new categories and drift."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import polars as pl
import pytest

from serving.files.summary import DERIVED, ScoringSummary
from tests.residuum.cli.running import Run, error_line
from tests.tables import normal_rows

TODAY = dt.date.today().isoformat()  # noqa: DTZ011 - as the command line


@pytest.fixture
def normal(tmp_path: Path) -> Path:
    """Rows like the training rows."""
    path = tmp_path / "normal-rows.csv"
    normal_rows(300, seed=11).write_csv(path)
    return path


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("score", "out-{date}.csv"),
        ("score", "{date}.parquet"),
        ("embed", "codes-{date}.csv"),
        ("reconstruct", "{date}-{date}.ndjson"),
        ("picture", "seen-{date}.png"),
    ],
)
def test_outputs_are_dated(command: str, name: str, run: Run, model: Path, table: Path) -> None:
    result = run(command, model, table, "--to", name)
    assert result.exit_code == 0, result.output
    assert Path(name.replace("{date}", TODAY)).is_file()
    assert f"written    {name.replace('{date}', TODAY)}" in result.stdout


def test_all_outputs_of_a_run_are_dated(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "hot.csv").write_text(normal_rows(5, seed=5, holes=0.0).write_csv().replace("\n", "\nhot,", 1))
    outputs = {"--to": "a-{date}.csv", "--rejects": "r-{date}.csv", "--summary": "s-{date}.json"}
    result = run("score", model, "hot.csv", *(word for pair in outputs.items() for word in pair))
    assert result.exit_code == 0, result.output
    assert {f"a-{TODAY}.csv", f"r-{TODAY}.csv", f"s-{TODAY}.json"} <= {path.name for path in tmp_path.iterdir()}
    summary = json.loads(Path(f"s-{TODAY}.json").read_text())
    assert (summary["written"], summary["rejects"]) == (f"a-{TODAY}.csv", f"r-{TODAY}.csv")


@pytest.mark.parametrize(("suffix", "numbers"), [("csv", [4, 6]), ("ndjson", [3, 5]), ("json", [2, 3]), ("parquet", [2, 3])])
def test_files_are_numbered_from_one_by_line_or_row(suffix: str, numbers: list[int], run: Run, model: Path) -> None:
    rows = normal_rows(3, seed=5, holes=0.0).cast(pl.String)
    rows[1, "temperature"] = "hot"
    header, *lines = rows.write_csv().splitlines()
    texts = {
        "csv": "\n".join([header, "\n\n".join(lines)]),
        "ndjson": rows.write_ndjson().replace("\n", "\n\n"),
        "json": json.dumps(rows.to_dicts(), indent=1),
    }
    if suffix == "parquet":
        rows.write_parquet("in.parquet")
    else:
        Path(f"in.{suffix}").write_text(texts[suffix])
    result = run("score", model, f"in.{suffix}", "--to", "out.csv")
    assert result.exit_code == 0, result.output
    assert pl.read_csv("out.rejects.csv")["row"].to_list() == numbers[:1]
    assert pl.read_csv("out.csv")["row"].to_list()[-1:] == numbers[1:]


@pytest.mark.parametrize("option", ["--to", "--rejects", "--summary", "--heatmaps"])
@pytest.mark.parametrize("name", ["a-{day}.csv", "a-{}.csv", "{date}-{time}.csv", "{Date}.csv", "{0}.csv"])
def test_other_placeholders_are_errors(option: str, name: str, run: Run, model: Path, table: Path) -> None:
    to = [] if option == "--to" else ["--to", "out.csv"]
    assert "{date}" in error_line(run, "score", model, table, *to, option, name)


@pytest.mark.parametrize("to", ["out.csv", "out.parquet", "-"])
def test_anomalies_end_with_four_once_all_is_written(to: str, run: Run, model: Path, table: Path) -> None:
    plain = run("score", model, table, "--to", to, "--force")
    content = plain.stdout if to == "-" else Path(to).read_bytes()
    result = run("score", model, table, "--to", to, "--fail-on-anomalies", "--summary", "summary.json", "--force")
    assert (plain.exit_code, result.exit_code) == (0, 4)
    assert (result.stdout if to == "-" else Path(to).read_bytes()) == content
    assert json.loads(Path("summary.json").read_text())["anomalies"] > 0
    assert "anomalies" in (result.stderr if to == "-" else result.stdout)


def test_without_anomalies_the_code_is_zero_and_rejected_rows_come_first(run: Run, model: Path) -> None:
    rows = normal_rows(60, seed=5, holes=0.0)
    assert (
        run(
            "score",
            model,
            write(rows.head(0).vstack(quiet(run, model, rows)), "quiet.csv"),
            "--to",
            "a.csv",
            "--fail-on-anomalies",
        ).exit_code
        == 0
    )
    strange = rows.with_columns(temperature=pl.lit(1e6)).cast(pl.String)
    strange[0, "temperature"] = "hot"
    path = write(strange, "strange.csv")
    assert run("score", model, path, "--to", "b.csv", "--fail-on-anomalies").exit_code == 4
    assert run("score", model, path, "--to", "c.csv", "--fail-on-anomalies", "--strict").exit_code == 3


def write(rows: pl.DataFrame, name: str) -> str:
    rows.write_csv(name)
    return name


def quiet(run: Run, model: Path, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that are not flagged."""
    run("score", model, write(rows, "all.csv"), "--to", "all-scored.csv", "--reasons", "none")
    return rows.filter(~pl.read_csv("all-scored.csv")["is_anomaly"])


def test_the_summary_holds_what_is_printed(run: Run, model: Path, table: Path) -> None:
    result = run("score", model, table, "--to", "out.csv", "--summary", "summary.json")
    assert result.exit_code == 0, result.output
    summary = json.loads(Path("summary.json").read_text())
    assert [*summary] == [*ScoringSummary.__struct_fields__, *DERIVED]
    assert summary["rows"] == 100
    assert summary["anomalies"] == int(pl.read_csv("out.csv")["is_anomaly"].sum())
    assert summary["alarm_rate"] == pytest.approx(summary["anomalies"] / 100)
    assert summary["promise"]["rate"] == 0.01
    assert summary["files"] == [str(table)]
    assert f"100 scored by {summary['model']}" in result.stdout
    assert summary["version"] == 1
    assert summary["warning"] in result.stdout
    assert dt.datetime.fromisoformat(summary["started"]).tzinfo is not None
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["out.csv", "summary.json", "today.csv"]


def test_a_summary_replaces_nothing_and_is_no_other_file(run: Run, model: Path, table: Path) -> None:
    Path("old.json").write_text("kept")
    assert "exists already" in error_line(run, "score", model, table, "--to", "out.csv", "--summary", "old.json")
    assert Path("old.json").read_text() == "kept"
    error_line(run, "score", model, table, "--to", "out.csv", "--summary", "out.csv")
    error_line(run, "score", model, table, "--to", "out.csv", "--summary", table, "--force")
    error_line(run, "score", model, table, "--to", "out.csv", "--summary", "nowhere/summary.json")
    error_line(run, "score", model, table, "--to", "-", "--summary", "-")
    assert run("score", model, table, "--to", "out.csv", "--summary", "old.json", "--force").exit_code == 0


def test_a_summary_on_standard_output_is_json_alone(run: Run, model: Path, table: Path) -> None:
    result = run("score", model, table, "--to", "out.csv", "--summary", "-")
    assert json.loads(result.stdout)["rows"] == 100
    assert "100 scored by" in result.stderr


def test_a_failed_run_leaves_no_summary(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("temperature\n1\n")
    error_line(run, "score", model, "bad.csv", "--to", "out.csv", "--summary", "summary.json")


def test_unseen_categories_are_counted_named_and_flagged(run: Run, model: Path) -> None:
    rows = normal_rows(40, seed=11, holes=0.0)
    machine = pl.when(pl.int_range(40) < 3).then(pl.lit("saw ")).when(pl.int_range(40) == 7).then(pl.lit("7.0"))
    path = write(rows.with_columns(machine=machine.otherwise("machine")), "new.csv")
    result = run("score", model, path, "--to", "out.csv", "--summary", "summary.json")
    assert "unseen     machine: saw (3 rows), 7 (1 row), never seen in training" in result.stdout
    (column,) = json.loads(Path("summary.json").read_text())["unseen"]
    values = [{"value": "saw", "rows": 3}, {"value": "7", "rows": 1}]
    assert column == {"column": "machine", "rows": 4, "values": values, "is_complete": True}
    flagged = pl.read_csv("out.csv").filter(pl.col("row").is_in([2, 3, 4, 9]))
    assert flagged["is_anomaly"].all()
    assert flagged["reason_1"].str.contains("machine = (saw|7), never seen in training").all()


def test_of_very_many_values_the_first_are_counted(run: Run, model: Path) -> None:
    rows = normal_rows(300, seed=11, holes=0.0).with_columns(machine=pl.format("m{}", pl.int_range(300)))
    result = run("score", model, write(rows, "new.csv"), "--to", "out.csv", "--summary", "summary.json")
    (machine,) = json.loads(Path("summary.json").read_text())["unseen"]
    assert (machine["rows"], len(machine["values"]), machine["is_complete"]) == (300, 100, False)
    assert "and others (295 rows), never seen in training" in result.stdout


def test_rows_like_the_training_rows_show_no_drift(run: Run, model: Path, normal: Path) -> None:
    result = run("score", model, normal, "--to", "out.csv", "--summary", "summary.json")
    assert "drift  " not in result.stdout
    assert "unseen" not in result.stdout
    drift = json.loads(Path("summary.json").read_text())["drift"]
    assert {each["column"] for each in drift} == {*normal_rows(1).columns} - {"at"}
    assert not any(each["has_drifted"] for each in drift)


@pytest.mark.parametrize(
    ("column", "changed"),
    [
        ("temperature", pl.col("temperature") + 8),
        ("flow", pl.when(pl.int_range(pl.len()) % 2 == 0).then("flow")),
        ("machine", pl.lit("mill")),
        ("door_open", pl.lit("yes")),
    ],
    ids=["shift", "missing", "category", "boolean"],
)
def test_drift_names_the_column_and_the_next_step(column: str, changed: pl.Expr, run: Run, model: Path, normal: Path) -> None:
    pl.read_csv(normal).with_columns(changed.alias(column)).write_csv("new.csv")
    result = run("score", model, "new.csv", "--to", "out.csv", "--summary", "summary.json")
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("drift")]
    assert column in line
    assert "train --time" in line
    drift = json.loads(Path("summary.json").read_text())["drift"]
    assert [each["column"] for each in drift if each["has_drifted"]] == [column]
