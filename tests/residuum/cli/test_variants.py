"""`residuum variants`: the table, for a person and for a program."""

from __future__ import annotations

import json

import pytest

from tests.residuum.cli.running import Run
from training.settings import as_plain
from training.variants import VARIANTS


def test_the_list_names_each_variant_and_its_paper(run: Run) -> None:
    message = run("variants").stdout
    for name, variant in VARIANTS.items():
        assert f"  {name} " in message
        assert variant.summary in message
        assert f"choose it {variant.choose_when}" in message
        assert variant.paper in message
    assert "tied=true" in message
    assert "latent=0" not in message  # the settings that all share are shown with a single variant


def test_the_list_reads_well_in_a_hundred_columns(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr("residuum.cli.output.MAX_WIDTH", 100)
    lines = run("variants").stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) < 8 * len(VARIANTS)


@pytest.mark.parametrize("name", VARIANTS)
def test_one_variant_shows_every_setting(name: str, run: Run) -> None:
    message = run("variants", name).stdout
    for key, default in as_plain(VARIANTS[name].settings()).items():
        assert any(line.split()[:2] == [key, str(default).lower()] for line in message.splitlines()), key


def test_settings_of_windows_are_shown_beside_those_of_rows(run: Run) -> None:
    message = run("variants", "plain").stdout
    assert "Settings with --window" in message
    assert any(line.split()[:2] == ["release", "0.65"] for line in message.splitlines())
    assert "Settings with --window" not in run("variants", "sparse").stdout
    listed = json.loads(run("variants", "--format", "json").stdout)
    plain = next(one for one in listed if one["name"] == "plain")
    assert plain["settings_of_windows"]["quiet"]["default"] == 5


def test_json_holds_everything(run: Run) -> None:
    listed = json.loads(run("variants", "--format", "json").stdout)
    assert [one["name"] for one in listed] == list(VARIANTS)
    alone = json.loads(run("variants", "sparse", "--format", "json").stdout)
    assert alone == next(one for one in listed if one["name"] == "sparse")
    assert alone["settings"]["k"] == {
        "default": 8,
        "takes": "a whole number from 1 up to 4,096",
        "meaning": "top-k: how many activations are kept",
    }


@pytest.mark.parametrize("options", [[], ["--format", "json"]])
def test_an_unknown_variant_is_refused(options: list[str], run: Run) -> None:
    done = run("variants", "spares", *options)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: there is no variant 'spares' (near: 'sparse'); there are memory, denoising,")
    assert done.stderr.count("\n") == 1
