"""`residuum` itself: help, version, unknown commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
import typer

from detector.version import __version__
from residuum.cli import COMMANDS, app
from residuum.cli.command import help_of
from serving.http.core.settings import HttpSettings
from tests.residuum.cli.running import LIST_MODULES, Run, in_a_process
from training.recipe import Recipe


def test_help_imports_nothing_heavy() -> None:
    done = in_a_process("--help", code=LIST_MODULES)
    assert done.returncode == 0
    for function in COMMANDS:
        assert f"│ {function.__name__} " in done.stdout
    assert not {"numpy", "polars", "onnxruntime", "msgspec", "torch"} & set(done.stderr.split())


def test_version_and_usage_errors(run: Run) -> None:
    assert run("--version").stdout == f"residuum {__version__}\n"
    unknown = run("scor")
    assert unknown.exit_code == 2
    assert "Did you mean 'score'?" in unknown.stderr
    assert run("score").exit_code == 2
    assert run("score", "m", "f", "--to", "o", "--reasons", "some").exit_code == 2


@pytest.mark.parametrize("name", [function.__name__ for function in COMMANDS])
def test_each_command_and_option_is_described(name: str) -> None:
    group: Any = typer.main.get_command(app)
    command = group.commands[name]
    context = command.make_context(name, [], resilient_parsing=True)
    assert len(command.help) > 20
    for parameter in command.get_params(context):
        assert len(parameter.help or "") > 5, parameter.name


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        ("serve", {"port": HttpSettings().port, "max-rows": HttpSettings().max_rows, "log": HttpSettings().log}),
        ("train", {"seed": Recipe().seed, "stride": Recipe().stride, "device": Recipe().device}),
        ("stream", {"linger": 0.05, "max-batch": 2000, "reasons": 3}),
        ("score", {"top": 3, "reasons": "anomalies"}),
    ],
)
def test_help_shows_the_defaults_of_the_settings(
    command: str, settings: dict[str, object], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    lines = run(command, "--help").stdout.splitlines()
    for name, default in settings.items():
        (line,) = (line for line in lines if f"--{name} " in line)
        assert f"[default: ({default})]" in line


def test_a_description_in_the_settings_is_the_help() -> None:
    class Example(msgspec.Struct):
        size: Annotated[int, msgspec.Meta(description="bytes of a body")] = 3
        share: float = 0.50
        is_on: bool = False
        path: Path | None = None
        required: int | msgspec.UnsetType = msgspec.UNSET

    assert help_of(Example) == {
        "size": ("3", "Bytes of a body."), "share": ("0.5", ""), "is_on": ("off", ""), "path": ("", ""), "required": ("", "")
    }  # fmt: skip
