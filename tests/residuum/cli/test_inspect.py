"""`residuum inspect`: the manifest as text and JSON."""

from __future__ import annotations

import json
from pathlib import Path

from tests.residuum.cli.running import Run


def test_text_and_json(run: Run, model: Path) -> None:
    manifest = json.loads(run("inspect", model, "--format", "json").stdout)
    assert manifest == json.loads((model / "1" / "manifest.json").read_text())
    text = run("inspect", model / "1").stdout
    for column in manifest["columns"]:
        assert column["name"] in text
    for expected in (
        "version 1",
        "split conformal",
        "at most 1 % of normal rows",
        "0 verdicts differ",
        "no: the highest version",
    ):
        assert expected in text
