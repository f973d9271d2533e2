"""Which version a name means: promote and rollback, on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector import pin, repository
from tests.data.make_bundle import write_minimal
from tests.residuum.cli.running import Run
from tests.serving.http.loads import add_failing


@pytest.fixture
def name(tmp_path: Path) -> Path:
    for version in (1, 2, 3):
        write_minimal(tmp_path / "models" / "pumps" / str(version), name="pumps", version=version)
    return tmp_path / "models" / "pumps"


def test_promote_shows_what_changes_and_writes_the_pin(run: Run, name: Path) -> None:
    shown = run("promote", "models/pumps", 2, "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert "version 3" in shown.output
    assert "threshold" in shown.output
    assert not (name / "pin").exists()
    done = run("promote", "models/pumps", 2)
    assert done.exit_code == 0
    assert "means version 2, not 3" in done.output
    assert repository.find(name) == name / "2"
    pinned = run("promote", "models/pumps", 2)
    assert "means version 2 as before" in pinned.output
    assert pinned.output.count("version 2") == 2  # one column, and that line
    assert sorted(each.name for each in name.iterdir()) == ["1", "2", "3", "pin", "pin.before"]


def test_rollback_goes_back_step_by_step(run: Run, name: Path) -> None:
    for version in (1, 2, 1):
        run("promote", "models/pumps", version)
    meant = []
    for _ in range(4):
        done = run("rollback", "models/pumps")
        meant.append(repository.find(name).name)
    assert meant == ["2", "1", "3", "2"]  # what was before; at last, of which nothing is known, the next lower version
    assert done.exit_code == 0


def test_rollback_without_history_takes_the_next_lower_one_that_can_be_trusted(run: Run, name: Path) -> None:
    (name / "2" / "model.onnx").write_bytes(b"broken")
    assert run("rollback", "models/pumps").exit_code == 0
    assert (name / "pin").read_text() == "1\n"
    done = run("rollback", "models/pumps")
    assert done.exit_code == 2
    assert "no version to go back to from 1" in done.output


def test_a_pin_to_a_version_that_is_gone_can_be_rolled_back(run: Run, name: Path) -> None:
    run("promote", "models/pumps", 2)
    (name / "pin").write_text("9")
    assert run("rollback", "models/pumps").exit_code == 0
    assert pin.current_version(name) == 3


def test_what_cannot_be_promoted_is_reported(run: Run, name: Path) -> None:
    done = run("promote", "models/pumps", 7)
    assert done.exit_code == 2
    assert "no version 7; it has [1, 2, 3]" in done.output.replace("\n", "")
    (name / "2" / "model.onnx").write_bytes(b"broken")
    assert run("promote", "models/pumps", 2).exit_code == 2
    add_failing(name.parent, 4)
    assert "cannot score" in run("promote", "models/pumps", 4).output
    assert run("promote", "nowhere", 1).exit_code == 2
    assert run("promote", "models/pumps", 1, "--url", "ftp://x").exit_code == 2
    assert run("rollback", "models/pumps", "--url", "http://127.0.0.1:1").exit_code == 2
    assert not (name / "pin").exists()
