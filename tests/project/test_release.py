"""The files of a release agree: metadata, CI, pre-commit hooks, constraints."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from detector.version import __version__


@pytest.fixture(scope="module")
def metadata(project: Path) -> dict[str, Any]:
    return tomllib.loads((project / "pyproject.toml").read_text())


def test_ci_runs_on_every_python_version_claimed(project: Path, metadata: dict[str, Any]) -> None:
    workflow = (project / ".github/workflows/ci.yml").read_text()
    classifiers = metadata["project"]["classifiers"]
    claimed = {found[1] for text in classifiers if (found := re.search(r"Python :: (3\.\d+)$", text))}
    assert claimed == set(re.findall(r'"(3\.\d+)"', workflow))
    assert min(claimed, key=lambda text: int(text.split(".")[1])) == metadata["project"]["requires-python"].removeprefix(">=")


def test_the_hooks_run_what_make_check_runs(project: Path) -> None:
    (repository,) = yaml.safe_load((project / ".pre-commit-config.yaml").read_text())["repos"]
    (check,) = re.findall(r"^check:.*\n((?:\t.*\n)+)", (project / "Makefile").read_text(), re.MULTILINE)
    hooks = [hook["entry"].removesuffix(" --force-exclude") for hook in repository["hooks"]]
    commands = [command.replace("$(BIN)", ".venv/bin").replace(" --check", "") for command in check.strip("\t\n@").split(" && ")]
    assert hooks == commands


def test_every_requirement_is_constrained(project: Path, metadata: dict[str, Any]) -> None:
    lines = (project / "constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0] for line in lines if not line.startswith("#")}
    extras = metadata["project"]["optional-dependencies"]
    requirements = [*metadata["project"]["dependencies"], *(text for texts in extras.values() for text in texts)]
    names = {re.split(r"[\[<>=; ]", text)[0] for text in requirements}
    assert names - pinned <= {"residuum"}


def test_the_demo_needs_no_development_tools(metadata: dict[str, Any]) -> None:
    assert metadata["project"]["optional-dependencies"]["demo"] == ["residuum[serve,train]"]


def test_the_changelog_has_the_version(project: Path) -> None:
    assert re.search(rf"^## \[{re.escape(__version__)}\]", (project / "CHANGELOG.md").read_text(), re.MULTILINE)
