"""`residuum train` on rows in the order of a date."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from detector import bundle
from detector.manifest import Manifest
from tests.residuum.cli.running import Run
from training import fit

START = dt.datetime(2026, 3, 2)  # noqa: DTZ001 - local time, as in files


def pumps(every: dt.timedelta, rows: int = 600, start: int = 0) -> pl.DataFrame:
    """Return rows of a pump, from the row `start` of an endless table on."""
    random = np.random.default_rng(start)
    load = random.normal(50, 5, rows)
    times = [START + every * row for row in range(start, start + rows)]
    return pl.DataFrame({"read at": times, "load": load.round(2), "flow": (2 * load + random.normal(0, 1, rows)).round(2)})


def train(run: Run, table: pl.DataFrame, *options: str) -> tuple[dict[str, str], Manifest]:
    table.write_csv("normal.csv")
    done = run("train", "normal.csv", "--to", "models/pump", "--fast", *options)
    assert done.exit_code == 0, done.output
    facts = {line[:11].strip(): line[11:] for line in done.stdout.splitlines()}
    return facts, bundle.read_manifest(Path(facts["bundle"]))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "STEPS", 50)


def test_a_date_that_orders_the_rows_is_proposed_as_time(run: Run) -> None:
    facts, manifest = train(run, pumps(dt.timedelta(hours=1)))
    assert facts["time"].startswith("read at orders the rows: train with --time 'read at'")
    assert "only its time of day and of week are used" in facts["time"]
    assert manifest.training.order == "shuffled"
    assert [column.kind for column in manifest.columns] == ["date", "number", "number"]


def test_a_date_that_covers_less_than_a_week_is_left_out(run: Run, tmp_path: Path) -> None:
    minutes = dt.timedelta(minutes=5)
    facts, manifest = train(run, pumps(minutes))
    assert "--time 'read at'" in facts["time"]
    assert "read at (orders the rows and covers less than a week" in facts["left out"]
    assert [column.name for column in manifest.columns] == ["load", "flow"]
    pumps(minutes, 200, start=600).write_csv(tmp_path / "new.csv")
    run("score", "models/pump", "new.csv", "--to", "scored.csv")
    assert pl.read_csv(tmp_path / "scored.csv")["is_anomaly"].sum() <= 12


@pytest.mark.long
@pytest.mark.parametrize(
    ("options", "names"),
    [([], ["load", "flow"]), (["--date", "read at"], ["read at", "load", "flow"])],
    ids=["time", "time and date"],
)
def test_a_date_that_is_named_is_a_feature_only_by_date(run: Run, options: list[str], names: list[str]) -> None:
    facts, manifest = train(run, pumps(dt.timedelta(hours=1), 200), "--time", "read at", *options)
    assert "time" not in facts
    assert manifest.training.order == "by read at"
    assert [column.name for column in manifest.columns] == names


@pytest.mark.long
def test_dates_in_no_order_propose_nothing(run: Run) -> None:
    facts, _ = train(run, pumps(dt.timedelta(hours=1)).sample(fraction=1, shuffle=True, seed=0))
    assert "time" not in facts
