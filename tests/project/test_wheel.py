"""The wheel holds the four packages and nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

OURS = {"residuum", "detector", "training", "serving"}
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "models", "*.egg-info", "__pycache__")


@pytest.fixture(scope="module")
def wheel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    # A copy, because setuptools builds in place and packs what an earlier build left behind.
    source = shutil.copytree(project, folder / "source", ignore=LEFT_OUT)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return ZipFile(built)


def test_wheel_holds_exactly_our_packages(wheel: ZipFile) -> None:
    top = {PurePosixPath(name).parts[0] for name in wheel.namelist()}
    (information,) = (name for name in top if name.endswith(".dist-info"))
    assert top == {*OURS, information}
    assert not [name for name in wheel.namelist() if "test" in name.lower()]


def test_wheel_holds_every_module(wheel: ZipFile, project: Path) -> None:
    modules = {path.relative_to(project).as_posix() for package in OURS for path in (project / package).rglob("*.py")}
    assert modules == {name for name in wheel.namelist() if name.endswith(".py")}


def test_wheel_is_typed_licensed_and_versioned(wheel: ZipFile) -> None:
    from residuum import __version__

    names = wheel.namelist()
    assert {f"{package}/py.typed" for package in OURS} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    (metadata,) = (wheel.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    assert f"\nVersion: {__version__}\n" in metadata


def test_wheel_scores_without_torch(wheel: ZipFile) -> None:
    (metadata,) = (wheel.read(name).decode() for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    torch = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: torch")]
    assert len(torch) == 1
    assert torch[0].endswith('; extra == "train"')
