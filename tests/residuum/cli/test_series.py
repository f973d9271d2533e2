"""A series from the command line: trained, scored, evaluated, and what is refused."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import residuum
from detector.errors import SettingError, TableError
from tests.presses import LENGTH, today
from tests.residuum.cli.running import Run
from tests.tables import series


@pytest.fixture
def model(presses: tuple[Path, str]) -> Path:
    return presses[0]


@pytest.fixture
def frame() -> pl.DataFrame:
    """Two machines, interleaved; the level of one moves."""
    return today().with_columns(is_bad=(pl.col("machine") == "press") & (pl.col("ts") >= "2026-03-03 06:00:40"))


@pytest.fixture
def table(frame: pl.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "today.csv"
    frame.write_csv(path, separator=";")
    return path


def test_training_says_what_a_window_is_and_what_is_promised(presses: tuple[Path, str]) -> None:
    message = presses[1]
    assert message.startswith("promise    an alarm begins in at most")
    assert f"of normal stretches of {LENGTH} rows if the future is like the training rows, calibrated on " in message
    assert f"windows    {LENGTH} rows of each machine, ordered by ts; a gap above 60 starts a new window" in message
    assert "(solved in closed form, without training steps)" in message
    assert "best of" not in message


def test_every_row_has_a_verdict_or_warms_up(run: Run, model: Path, table: Path) -> None:
    done = run("score", model, table, "--to", "out.csv", "--keep", "machine", "--keep", "is_bad")
    assert done.exit_code == 0, done.output
    out = pl.read_csv("out.csv")
    assert out.height == 160
    warming = out.filter(pl.col("state") == "warming up")
    assert warming.height == 2 * (LENGTH - 1)
    assert warming["anomaly_score"].null_count() == warming["is_anomaly"].null_count() == warming.height
    scored = out.filter(pl.col("state") == "scored")
    assert scored["is_anomaly"].null_count() == 0
    assert scored.filter(pl.col("is_bad"))["is_anomaly"].mean() > 0.7
    assert scored.filter(~pl.col("is_bad"))["is_anomaly"].mean() < 0.3
    assert "flow = " in scored.filter("is_anomaly")["reason_1"].drop_nulls().str.join(" ")[0]
    assert "not scored 22 rows: a window warms up" in done.stdout
    assert "promised: alarms begin in at most" in done.stdout


@pytest.mark.parametrize("suffix", ["parquet", "ndjson"])
def test_other_files_give_the_same_verdicts(run: Run, model: Path, table: Path, frame: pl.DataFrame, suffix: str) -> None:
    if suffix == "parquet":
        frame.with_columns(pl.col("ts").str.to_datetime()).write_parquet("today.parquet")
    else:
        frame.write_ndjson("today.ndjson")
    columns = ["anomaly_score", "is_anomaly", "state"]
    for place, file in enumerate((table, f"today.{suffix}")):
        assert run("score", model, file, "--to", f"{place}.csv").exit_code == 0
    one, other = (pl.read_csv(f"{place}.csv").select(columns) for place in (0, 1))
    assert one.select(columns[1:]).equals(other.select(columns[1:]))
    assert (one["anomaly_score"] - other["anomaly_score"]).abs().max() < 1e-4


def test_each_file_begins_anew(run: Run, model: Path, table: Path, frame: pl.DataFrame) -> None:
    frame.write_csv("again.csv")
    assert run("score", model, table, "again.csv", "--to", "out.csv").exit_code == 0
    out = pl.read_csv("out.csv")
    assert out.group_by("file").agg((pl.col("state") == "warming up").sum())["state"].to_list() == [22, 22]


def test_rows_that_cannot_take_part_are_rejected_with_their_reason(run: Run, model: Path, frame: pl.DataFrame) -> None:
    rows = frame.filter(pl.col("machine") == "press").rows()
    at = frame.columns.index
    bad = [list(row) for row in rows[:30]]
    bad[10][at("ts")] = None
    bad[11][at("ts")] = "soon"
    bad[12][at("machine")] = None
    bad[20][at("ts")] = bad[19][at("ts")]
    bad[21][at("ts")] = "2026-03-03 05:00:00"
    bad[22][at("load")] = "fast"
    pl.DataFrame(
        [[None if cell is None else str(cell) for cell in row] for row in bad], schema=frame.columns, orient="row"
    ).write_csv("bad.csv")
    done = run("score", model, "bad.csv", "--to", "out.csv")
    assert done.exit_code == 0, done.output
    rejects = pl.read_csv("out.rejects.csv")
    assert rejects.select("row", "column").rows() == [
        (12, "ts"),
        (13, "ts"),
        (14, "machine"),
        (22, "ts"),
        (23, "ts"),
        (24, "load"),
    ]
    assert rejects["expected"].to_list()[3:5] == ["a time after 2026-03-03 06:00:19, that of the row before"] * 2
    assert pl.read_csv("out.csv")["state"].to_list().count("scored") == 24 - LENGTH + 1


def test_an_hour_that_comes_twice_is_rejected_and_one_that_is_skipped_is_a_gap(run: Run, model: Path) -> None:
    rows = series(60, 3)
    hour = pl.int_range(pl.len()) >= 30
    time = pl.col("ts").str.to_datetime()
    for name, shift in (("autumn", "-1h"), ("spring", "1h")):
        rows.with_columns(pl.when(hour).then(time.dt.offset_by(shift)).otherwise(time)).write_csv(f"{name}.csv")
    rows.with_columns(
        ts=pl.when(hour)
        .then(pl.col("ts") + "+01:00")
        .otherwise((time.dt.offset_by("1h")).dt.strftime("%Y-%m-%d %H:%M:%S") + "+02:00")
    ).write_csv("offset.csv")
    for name in ("autumn", "spring", "offset"):
        assert run("score", model, f"{name}.csv", "--to", f"{name}-out.csv").exit_code == 0
    states = {name: pl.read_csv(f"{name}-out.csv")["state"].to_list() for name in ("autumn", "spring", "offset")}
    assert len(states["autumn"]) == 30
    assert pl.read_csv("autumn-out.rejects.csv").height == 30
    assert states["spring"][30:42] == ["warming up"] * 11 + ["scored"]
    assert states["offset"].count("warming up") == LENGTH - 1


def test_labels_are_compared_with_the_alarms(run: Run, model: Path, table: Path) -> None:
    done = run("evaluate", model, table, "--label", "is_bad")
    assert done.exit_code == 0, done.output
    assert "98 normal, 40 anomalies" in done.stdout
    assert "of normal stretches of 12 rows" in done.stdout


def test_a_threshold_moves_by_rate_and_not_by_labels(run: Run, model: Path, table: Path) -> None:
    done = run("calibrate", model, "--false-alarm-rate", "0.3", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "calibration stretches" in done.output
    refused = run("calibrate", model, "--labels", table, "--label", "is_bad", "--maximise", "f1", "--dry-run")
    assert refused.exit_code == 2
    assert "scores windows of 12 rows, and a threshold from labels takes single rows" in refused.stderr


def test_inspect_says_when_an_alarm_begins_and_ends(run: Run, model: Path) -> None:
    done = run("inspect", model)
    assert "begins when a score is above the threshold, ends after 5 scores in a row at or below 0.65 of it" in done.stdout
    assert "12 rows of each machine, ordered by ts" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("embed", "today.csv", "--to", "out.csv"),
        ("reconstruct", "today.csv", "--to", "out.csv"),
        ("picture", "today.csv", "--to", "out.png"),
        ("decode", "today.csv", "--to", "out.csv"),
        ("generate", "--to", "out.csv"),
        ("finetune", "today.csv", "--label", "is_bad"),
    ],
)
def test_commands_for_single_rows_are_errors(run: Run, model: Path, table: Path, arguments: tuple[str, ...]) -> None:
    assert table.exists()
    done = run(arguments[0], model, *arguments[1:])
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1
    assert "windows" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--window", "12"), "name the time column with --time"),
        (("--window", "12", "--time", "when"), "no column 'when'"),
        (("--window", "200", "--time", "ts", "--key", "machine"), "too few to train on"),
        (("--window", "12", "--time", "ts", "--max-gap", "soon"), "a duration such as 90s"),
        (("--key", "machine"), "--key is for windows of a series"),
        (("--variant", "recurrent"), "takes windows of a series"),
        (("--variant", "sparse", "--window", "12", "--time", "ts"), "sparse takes single rows"),
    ],
)
def test_training_that_cannot_be_says_what_would_work(run: Run, table: Path, options: tuple[str, ...], message: str) -> None:
    done = run("train", table, "--to", "models/none", *options)
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_a_table_without_the_time_or_the_key_is_refused(run: Run, model: Path, frame: pl.DataFrame) -> None:
    for column in ("ts", "machine"):
        frame.drop(column).write_csv("without.csv")
        done = run("score", model, "without.csv", "--to", "out.csv")
        assert done.exit_code == 2
        assert repr(column) in done.stderr


@pytest.mark.long
def test_without_a_key_interleaved_machines_are_found_by_their_times(run: Run, table: Path) -> None:
    done = run("train", table, "--to", "models/mixed", "--time", "ts", "--window", "12", "--ignore", "is_bad")
    assert "--key names the column that identifies a series" in done.output


def test_the_python_api_gives_the_same_verdicts(model: Path, frame: pl.DataFrame, run: Run, table: Path) -> None:
    assert run("score", model, table, "--to", "out.csv").exit_code == 0
    out = pl.read_csv("out.csv")
    detector = residuum.load(model)
    for given in (frame, frame.to_pandas()):
        scored = pl.DataFrame(detector.score(given))
        assert scored["state"].to_list() == out["state"].to_list()
        assert scored["is_anomaly"].cast(pl.Boolean).to_list() == out["is_anomaly"].to_list()
    with pytest.raises(TableError, match="lacks the time column 'ts'"):
        detector.score(frame.drop("ts"))
    with pytest.raises(TableError, match="to order a series by"):
        detector.score(frame.select("load", "flow", "heat", "mode", "firmware").to_numpy())
    with pytest.raises(SettingError, match="takes single rows"):
        detector.embed(frame)
