"""`residuum score --url` writes what `residuum score` writes."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from residuum.cli import app
from serving import client
from tests.presses import LENGTH, today
from tests.serving.http.conftest import Service, Start
from tests.serving.http.test_security import SCORE, line
from tests.tables import normal_rows, planted_anomalies


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = pl.concat([normal_rows(150, seed=5, holes=0.1), planted_anomalies(20)])
    spoilt = pl.when(pl.int_range(170) % 50 == 3).then(pl.lit("hot")).otherwise(pl.col("temperature").cast(pl.String))
    rows.with_columns(temperature=spoilt).write_csv(tmp_path / "today.csv")
    return tmp_path / "today.csv"


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["score", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_same_file_comes_out(service: Service, models: Path, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_ROWS", 64)
    here, there = table.with_name("here.csv"), table.with_name("there.csv")
    run(models / "pumps", table, "--to", here)
    outputs = run("pumps/1", table, "--to", there, "--url", service.url)
    assert f"scored by {service.url} (pumps/1) in" in outputs
    assert "promised: at most 5 % of normal rows" in outputs
    ours, theirs = pl.read_csv(here), pl.read_csv(there)
    assert ours.drop("anomaly_score").equals(theirs.drop("anomaly_score"))
    assert (ours["anomaly_score"] / theirs["anomaly_score"] - 1).abs().max() < 1e-6
    assert table.with_name("here.rejects.csv").read_text() == table.with_name("there.rejects.csv").read_text()


def test_the_same_classes_come_out(service: Service, models: Path, table: Path) -> None:
    here, there = table.with_name("here.csv"), table.with_name("there.csv")
    run(models / "fans", table, "--to", here)
    run("fans", table, "--to", there, "--url", service.url)
    ours, theirs = pl.read_csv(here), pl.read_csv(there)
    assert ours.columns == theirs.columns
    assert set(ours["class"]) == {"cold", "hot"}
    assert ours["class"].equals(theirs["class"])
    clash = ["score", "fans", str(table), "--keep", "class", "--to", "x.csv", "--url", service.url]
    assert "a column of its own by that name" in CliRunner().invoke(app, clash).output


def test_a_token_comes_from_the_environment(start: Start, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = table.with_name("tokens")
    tokens.write_text(line(SCORE, "score"))
    service = start("--token-file", tokens)
    refused = CliRunner().invoke(app, ["score", "pumps", str(table), "--to", "x.csv", "--url", service.url])
    assert refused.exit_code == 2
    assert "RESIDUUM_TOKEN" in refused.output
    monkeypatch.setenv("RESIDUUM_TOKEN", SCORE)
    run("pumps", table, "--to", table.with_name("out.csv"), "--url", service.url)


@pytest.mark.parametrize(
    ("model", "url", "message"),
    [
        ("none", "", "there is no model 'none'"),
        ("pumps", "http://127.0.0.1:9", "does not answer: the connection was refused; check that the service runs"),
        ("pumps", "http://nobody.invalid:9", "does not answer: no such host"),
        ("pumps", "nonsense", "is not the address of a service"),
    ],
)
def test_errors_are_one_line(service: Service, table: Path, model: str, url: str, message: str) -> None:
    arguments = ["score", model, table, "--to", table.with_name("x.csv"), "--url", url or service.url]
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 2
    assert message in done.output
    assert done.output.count("\n") == 1


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_series_is_scored_as_on_disk(
    presses: tuple[Path, str], start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr("detector.files.blocks.BLOCK_BYTES", 2000)
    rows = today().with_columns(bad=pl.int_range(pl.len()))
    times = pl.when(pl.col("bad") == 90).then(pl.lit("2026-03-03 06:00:00")).otherwise("ts").str.to_datetime()
    rows = rows.with_columns(ts=times, machine=pl.when(pl.col("bad") == 100).then(None).otherwise("machine"))
    table = tmp_path / f"series.{form}"
    again = table.with_stem("again")
    for path in (table, again):
        rows.write_parquet(path) if form == "parquet" else rows.write_csv(path)
    service = start(at=presses[0].parent)
    outputs = {}
    for place, more in (("here", []), ("there", ["--url", service.url])):
        model = "presses" if more else presses[0]
        outputs[place] = run(model, table, again, "--to", tmp_path / f"{place}.csv", "--keep", "machine", "--keep", "bad", *more)
    ours, theirs = (pl.read_csv(tmp_path / f"{place}.csv") for place in outputs)
    assert ours.columns == theirs.columns
    assert ours["state"].to_list().count("warming up") == 2 * 2 * (LENGTH - 1)
    assert ours.drop("anomaly_score").equals(theirs.drop("anomaly_score"))
    assert (ours["anomaly_score"] / theirs["anomaly_score"] - 1).abs().max() < 1e-4
    assert (tmp_path / "here.rejects.csv").read_text() == (tmp_path / "there.rejects.csv").read_text()
    alarms = [re.search(r"in (\d+) alarms?;", each) for each in outputs.values()]
    assert alarms[0]
    assert alarms[1]
    assert alarms[0][1] == alarms[1][1] != "0"


def test_a_broken_stream_is_an_error(presses: tuple[Path, str], start: Start, tmp_path: Path) -> None:
    today().with_columns(firmware=pl.lit("x" * 1500)).write_csv(tmp_path / "series.csv")  # more than comes in one piece
    service = start("--max-line", 20, at=presses[0].parent)
    for model, word in (("presses/7", "no version '7'"), ("presses", "a line has more than 20 bytes")):
        arguments = ["score", model, tmp_path / "series.csv", "--to", tmp_path / "x.csv", "--url", service.url]
        done = CliRunner().invoke(app, [*map(str, arguments)])
        assert done.exit_code == 2, done.output
        assert word in done.output
