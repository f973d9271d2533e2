"""Every benchmark runs in a tiny form, whose figures mean nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = {
    "batch_scoring": ("--rows", "2000"),
    "cold_start": ("--rows", "500"),
    "training": ("--rows", "300"),
    "false_alarms": ("--rows", "300"),
    "variants": ("--rows", "300"),
    "digits": ("--rows", "300"),
    "images": ("--rows", "100"),
    "service": ("--rows", "1000"),
    "series": ("--rows", "50"),
    "stream": ("--rows", "50000"),
    "quality/robustness": ("--rows", "100"),
    "quality/tables": ("--rows", "100"),
}


def test_every_script_is_listed(project: Path) -> None:
    folder = project / "benchmarks"
    scripts = [*folder.glob("[a-z]*.py"), *(folder / "quality").glob("[a-z]*.py")]
    assert {path.relative_to(folder).with_suffix("").as_posix() for path in scripts} == SMALL.keys()


@pytest.mark.long
@pytest.mark.parametrize("name", SMALL)
def test_runs_and_writes_its_figures(project: Path, tmp_path: Path, name: str) -> None:
    script, figures = project / "benchmarks" / f"{name}.py", tmp_path / "figures.json"
    command = [sys.executable, script, "--quick", "--rounds", "1", *SMALL[name], "--json", figures]
    environment = os.environ | {"RESIDUUM_BENCHMARKS_TINY": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written = json.loads(figures.read_text())
    assert written["benchmark"] == name.replace("/", "_")
    assert written["lines"] or written["left_out"]
    assert all(line["low"] <= line["high"] for line in written["lines"])
