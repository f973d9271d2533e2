"""New versions are loaded; invalid ones are logged and ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.log import configure_logging
from serving.stream import model_watcher
from serving.stream.model_watcher import ModelWatcher
from tests.data.make_bundle import write_minimal


def test_a_valid_version_is_loaded_and_an_invalid_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("json")
    models, outcomes = tmp_path / "pumps", []
    write_minimal(models / "1", name="other name")
    watcher = ModelWatcher(models, "cpu", outcomes.append)
    assert (watcher.model.name, watcher.model.version) == ("pumps", 1)
    write_minimal(models / "3", name="pumps", version=3)
    assert not watcher.update()  # checked a moment ago
    monkeypatch.setattr(model_watcher, "INTERVAL", 0.0)
    assert watcher.update()
    assert not watcher.update()
    assert watcher.model.version == 3
    (models / "4").mkdir()
    (models / "4" / "manifest.json").write_text("{}")
    assert not watcher.update()
    assert not watcher.update()
    assert watcher.model.version == 3
    assert outcomes == ["opened", "opened", "refused"]
    assert capsys.readouterr().err.count("version rejected") == 1
