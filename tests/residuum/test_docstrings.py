"""The docstrings of the public Python API: complete, and with examples that run."""

from __future__ import annotations

import doctest
import inspect
import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import residuum
from tests.data.make_bundle import KEPT
from tests.tables import normal_rows, planted_anomalies
from training import fit
from training.recipe import Recipe

FUNCTIONS = ("train", "load", "evaluate", "calibrate", "finetune", "compare", "promote", "rollback", "variants")
PUBLIC: dict[str, Any] = {"residuum": residuum} | {name: getattr(residuum, name) for name in FUNCTIONS}
for owner in (residuum.Detector, residuum.AutoencoderDetector):
    PUBLIC[owner.__name__] = owner
    for name, member in vars(owner).items():
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
            PUBLIC[f"{owner.__name__}.{name}"] = member
WITH_EXAMPLE = [name for name, value in PUBLIC.items() if ">>>" in (inspect.getdoc(value) or "")]


def test_functions_and_classes_have_examples() -> None:
    methods = {f"Detector.{name}" for name in ("score", "explain", "contributions", "embed", "reconstruct", "decode", "generate")}
    assert {*FUNCTIONS, "Detector", "AutoencoderDetector", *methods} <= set(WITH_EXAMPLE)


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items() if callable(value)])
def test_every_parameter_is_described(name: str) -> None:
    value = PUBLIC[name]
    text = inspect.getdoc(value) or ""
    parameters = [each for each in inspect.signature(value).parameters if each not in {"self", "scorer"}]
    for parameter in parameters:
        assert re.search(rf"^    {parameter}: ", text, re.MULTILINE), parameter
    if inspect.isfunction(value):
        assert "Returns:" in text
        assert "Raises:" in text


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name == "train")) for name in WITH_EXAMPLE])
def test_examples_run(name: str, tmp_path: Path, variational: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fit, "STEPS", 200)
    shutil.copytree(KEPT, "models/pumps/1")
    shutil.copytree(variational, "models/pumps-with-prior")
    normal_rows(30, seed=5).write_csv("today.csv")
    labelled = pl.concat([normal_rows(40, seed=5), planted_anomalies(10)])
    labelled.with_columns(state=pl.Series(["ok"] * 40 + ["leak"] * 10)).write_csv("labelled.csv")
    examples = doctest.DocTestParser().get_doctest(inspect.getdoc(PUBLIC[name]) or "", {}, name, None, None)
    failures: list[str] = []
    doctest.DocTestRunner().run(examples, out=failures.append)
    assert failures == []


def test_defaults_are_those_of_the_recipe() -> None:
    recipe = Recipe()
    for function in (residuum.train, residuum.AutoencoderDetector):
        defaults = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
        for name in ("seed", "stride", "device", "window", "false_alarm_rate", "max_gap"):
            assert defaults.get(name, getattr(recipe, name)) == getattr(recipe, name)


def test_help_shows_every_public_name() -> None:
    text = inspect.getdoc(residuum) or ""
    for name in residuum.__all__:
        assert re.search(rf"^ *{name} ", text, re.MULTILINE), name
