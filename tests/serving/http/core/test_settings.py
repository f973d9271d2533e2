from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from detector.errors import SettingError
from residuum.cli import app
from serving.http.core.settings import HttpSettings, load


def test_every_setting_is_an_option_that_shows_its_default() -> None:
    group: Any = typer.main.get_command(app)
    command = group.commands["serve"]
    parameters = command.get_params(command.make_context("serve", [], resilient_parsing=True))
    shown = {parameter.name: parameter.show_default for parameter in parameters}
    settings = msgspec.structs.fields(HttpSettings)
    assert {field.name for field in settings} == set(shown) - {"models", "config", "debug", "help"}
    for field in settings:
        default = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
        default = "none" if field.default is None else "off" if field.default is False else default
        assert shown[field.name] == default


def test_an_option_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('port = 9\nmax-rows = 5\nidle-timeout = 2.5\nhost = "::1"\n')
    settings = load(file, {"port": 10, "max_rows": None})
    assert (settings.port, settings.max_rows, settings.idle_timeout, settings.host) == (10, 5, 2.5, "::1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 9", r"unknown key 'prot' \(near: 'port'\)"),
        ("metrics_port = 9\nmaxrows = 1", r"unknown keys 'metrics_port', 'maxrows' \(near: .*'max-rows'.*'metrics-port'"),
        ("[serve]\nport = 9", "unknown key 'serve'"),
        ('port = "x"', r"port"),
        ("port = ", "is not valid TOML"),
        ("max-rows = 0", "max-rows must be more than 0"),
        ("port = 65536", "port must be at most 65535; got 65536"),
        ("metrics-port = 65535\nworkers = 2", "metrics-port must be at most 65535; got 65536"),
        ('tls-key = "key.pem"', "tls-key requires tls-certificate"),
    ],
)
def test_invalid_settings_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "serve.toml").write_text(text)
    with pytest.raises(SettingError, match=message):
        load(tmp_path / "serve.toml", {})
