"""`residuum inspect`: the manifest as text and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from detector import bundle
from residuum import describe
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


def test_settings_that_do_not_apply_are_left_out(model: Path) -> None:
    manifest = bundle.read_manifest(model / "1")
    for variant, settings, shown in (
        ("memory", {"sizes": "none", "activation": "silu", "prototypes": 512}, {"prototypes"}),
        ("sparse", {"driver": "kl", "weight": 0.1, "target": 0.05, "k": 8, "threshold": 0.01}, {"driver", "weight", "target"}),
        ("denoising", {"sizes": "none", "corruption": "none", "level": 0.2}, {"sizes", "corruption"}),
    ):
        other = msgspec.structs.replace(manifest, variant=variant, settings=settings)
        assert describe.settings(other).keys() == shown
