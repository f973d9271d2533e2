"""The wheel contains the four packages and nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

from tests.alone import alone

OURS = {"residuum", "detector", "training", "serving"}


@pytest.fixture(scope="module")
def wheel(project: Path, run_folder: Path) -> ZipFile:
    """The wheel, built once per test run."""
    folder = run_folder / "wheel"
    folder.mkdir(exist_ok=True)
    with alone(folder / "lock"):
        if not list(folder.glob("*.whl")):
            # A copy, because setuptools builds in place and includes leftovers of earlier builds.
            source = folder / "source"
            source.mkdir()
            for name in ("pyproject.toml", "README.md", "LICENSE"):
                shutil.copy(project / name, source)
            for name in OURS:
                shutil.copytree(project / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
            build = "from setuptools.build_meta import build_wheel; build_wheel('..')"
            done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return ZipFile(built)


def test_the_wheel_contains_exactly_the_packages(wheel: ZipFile) -> None:
    top = {PurePosixPath(name).parts[0] for name in wheel.namelist()}
    (information,) = (name for name in top if name.endswith(".dist-info"))
    assert top == {*OURS, information}
    assert not [name for name in wheel.namelist() if "test" in name.lower()]


def test_the_wheel_contains_every_module(wheel: ZipFile, project: Path) -> None:
    modules = {path.relative_to(project).as_posix() for package in OURS for path in (project / package).rglob("*.py")}
    assert modules == {name for name in wheel.namelist() if name.endswith(".py")}


def test_the_wheel_is_typed_licensed_and_versioned(wheel: ZipFile) -> None:
    from residuum import __version__

    names = wheel.namelist()
    assert {f"{package}/py.typed" for package in OURS} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    (metadata,) = (wheel.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    assert f"\nVersion: {__version__}\n" in metadata


def test_the_wheel_requires_torch_for_training_only(wheel: ZipFile) -> None:
    (metadata,) = (wheel.read(name).decode() for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    torch = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: torch")]
    assert len(torch) == 1
    assert torch[0].endswith('; extra == "train"')
