"""The registry follows the disk: versions are added, removed, pinned and invalid while the service runs."""

from __future__ import annotations

import gc
import os
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from detector import pin
from detector.errors import BundleCorrupt
from serving.http.models.registry import ModelRegistry
from tests.data.make_bundle import write_minimal
from tests.serving.http.conftest import Service, StartProcess, copy, until
from tests.serving.http.loads import Load, add, add_bad, add_failing, write
from tests.serving.http.test_metrics import Read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with one version of one name."""
    write(tmp_path / "models", 1)
    return tmp_path / "models"


@pytest.fixture
def loads() -> list[str]:
    return []


@pytest.fixture
def models(folder: Path, loads: list[str]) -> ModelRegistry:
    return ModelRegistry(folder, "cpu", loads.append)


def test_a_new_version_answers_and_the_old_one_stays_open(models: ModelRegistry, folder: Path) -> None:
    old = models.current("pumps")
    add(folder, 2)
    models.poll()
    assert models.current("pumps").version == 2
    assert models.find_open("pumps", "1") is old


def test_an_invalid_version_is_rejected_once_and_again_after_a_change(
    models: ModelRegistry, folder: Path, loads: list[str]
) -> None:
    add_bad(folder, 2)
    for _ in range(3):
        models.poll()
    assert models.current("pumps").version == 1
    assert loads == ["opened", "refused"]
    with pytest.raises(BundleCorrupt, match="changed after it was written"):
        models.reload("pumps")

    shutil.rmtree(folder / "pumps" / "2")
    add(folder, 2)
    models.poll()
    assert models.current("pumps").version == 2
    assert loads == ["opened", "refused", "opened"]


def test_a_new_registry_opens_what_a_running_one_has_open(folder: Path, loads: list[str]) -> None:
    add(folder, 2)
    add_bad(folder, 3)
    assert ModelRegistry(folder, "cpu", loads.append).current("pumps").version == 2
    (folder / "pumps" / "pin").write_text("3")
    with pytest.raises(BundleCorrupt):
        ModelRegistry(folder, "cpu", loads.append)


def test_a_graph_that_cannot_score_is_rejected(models: ModelRegistry, folder: Path, loads: list[str]) -> None:
    add_failing(folder, 2)
    models.poll()
    assert models.current("pumps").version == 1
    assert loads[1:] == ["refused"]
    with pytest.raises(BundleCorrupt, match="cannot score rows like its training rows"):
        models.reload("pumps")


def test_new_names_appear_and_a_lost_disk_changes_nothing(models: ModelRegistry, folder: Path) -> None:
    copy(folder, "fans", 1)
    models.poll()
    assert [each.name for each in models.current_models()] == ["pumps", "fans"]
    folder.rename(folder.with_name("gone"))
    models.poll()
    assert models.current("pumps").version == models.current("fans").version == 1
    folder.with_name("gone").rename(folder)
    add(folder, 2)
    models.poll()
    assert models.current("pumps").version == 2


def test_a_rewritten_version_is_reopened(models: ModelRegistry, folder: Path) -> None:
    add(folder, 2)
    models.poll()
    shutil.rmtree(folder / "pumps" / "2")
    models.poll()
    assert models.current("pumps").version == 1
    write_minimal(folder / "pumps" / "2", name="pumps", version=2, variant="another")
    models.poll()
    assert models.current("pumps").scorer.manifest.variant == "another"


@pytest.mark.long
def test_fifty_reloads_leak_no_memory(models: ModelRegistry, folder: Path) -> None:
    for version in range(2, 6):
        add(folder, version)

    def reload(times: int) -> int:
        """Activate another version, which is not open, so many times; return the memory in use, in bytes."""
        for at in range(times):
            (folder / "pumps" / "pin").write_text(str(at % 5 + 1))
            models._others = {}  # noqa: SLF001 - each is opened from disk
            models.poll()
            assert models.current("pumps").version == at % 5 + 1
        return resident()

    level = reload(15)
    assert reload(50) - level < 8 * 2**20


def test_a_rejection_keeps_no_model_alive(models: ModelRegistry, folder: Path) -> None:
    was = weakref.ref(models.current("pumps"))
    add_bad(folder, 2)
    models.poll()
    add(folder, 3)
    gc.disable()
    try:
        models.poll()
        models._others = {}  # noqa: SLF001 - as if others had come since
        assert was() is None
    finally:
        gc.enable()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_service_follows_the_disk_under_load(
    start_process: StartProcess, folder: Path, load: Callable[[Service], Load]
) -> None:
    service = start_process("--log", "json", at=folder)
    asking = load(service)
    for version in range(2, 8):
        if version % 3:
            add(folder, version)
            until(lambda version=version: asking.answered_by(version))
        else:
            add_bad(folder, version)
            until(lambda version=version: f"pumps/{version}/model.onnx was changed" in service.log)
    assert pin.rollback(folder / "pumps") == (5, 7)
    until(lambda: asking.answered_by(5))
    asking.stop()
    assert asking.faults == []
    assert set(asking.versions) == {1, 2, 4, 5, 7}
    assert Read(service).value("residuum_model_loads_total", outcome="refused") == 2
