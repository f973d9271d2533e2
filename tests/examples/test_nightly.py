"""The script for cron scores a file, prints anomalies, and ends with the exit code that cron's mail needs."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.data.make_bundle import KEPT
from tests.project.documents import ROOT
from tests.tables import normal_rows, planted_anomalies


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a bundle, a file to score, and `residuum` on the path."""
    shutil.copytree(KEPT, tmp_path / "models" / "pumps" / "1")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "residuum"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m residuum "$@"\n')
    program.chmod(0o755)
    return tmp_path


def nightly(folder: Path, file: str) -> subprocess.CompletedProcess[str]:
    """Run the script as cron does."""
    command = [str(ROOT / "examples" / "nightly.sh"), "models/pumps", file]
    return subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)


def environment(folder: Path) -> dict[str, str]:
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(folder)}


def test_anomalies_are_printed(folder: Path) -> None:
    pl.concat([normal_rows(40, seed=5), planted_anomalies(10)]).write_csv(folder / "today.csv")
    done = nightly(folder, "today.csv")
    assert done.returncode == 0, done.stderr
    scored = pl.read_csv(folder / "scored" / "today.csv")
    assert json.loads((folder / "scored" / "today.json").read_text())["anomalies"] == scored.height
    assert done.stdout.startswith(f"{scored.height} anomalies in today.csv:\nrow,")
    assert scored["is_anomaly"].all()


def test_the_line_for_crontab_mails_the_summary_of_a_night_with_anomalies(folder: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "cron.md").read_text()
    (line,) = re.findall(r"^30 2 \* \* \*  (.*--to 'scored-\{date\}.csv'.*)$", page, re.MULTILINE)
    command = line.replace("\\%", "%").replace("/srv/pumps", str(folder))
    yesterday = folder / "incoming" / f"{dt.date.today() - dt.timedelta(days=1)}.csv"  # noqa: DTZ011 - as date(1)
    yesterday.parent.mkdir()

    def run() -> str:
        done = subprocess.run(["/bin/sh", "-c", command], env=environment(folder), capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    normal_rows(5, seed=5, holes=0.0).write_csv(yesterday)
    assert run() == ""
    planted_anomalies(10).write_csv(yesterday)
    assert "anomalies" in run()
    today = dt.date.today().isoformat()  # noqa: DTZ011 - as `residuum score`
    assert pl.read_csv(folder / f"scored-{today}.csv")["is_anomaly"].any()
    assert json.loads((folder / f"summary-{today}.json").read_text())["anomalies"] > 0


def test_rejected_rows_end_with_three_and_a_missing_file_with_two(folder: Path) -> None:
    (folder / "bad.csv").write_text(normal_rows(5, seed=5, holes=0.0).write_csv().replace("\n", "\nhot,", 1))
    done = nightly(folder, "bad.csv")
    assert done.returncode == 3
    assert "reject" in done.stderr
    assert nightly(folder, "absent.csv").returncode == 2


def test_a_second_run_at_once_is_refused(folder: Path) -> None:
    normal_rows(5).write_csv(folder / "today.csv")
    (folder / "scored").mkdir()
    with subprocess.Popen(["flock", str(folder / "scored" / ".lock"), "sleep", "60"]) as holder:
        while subprocess.run(["flock", "--nonblock", str(folder / "scored" / ".lock"), "true"], check=False).returncode == 0:
            pass
        done = nightly(folder, "today.csv")
        subprocess.run(["kill", str(holder.pid)], check=True)
        holder.terminate()
    assert done.returncode == 2
    assert "another run" in done.stderr
