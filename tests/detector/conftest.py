"""The kept bundle, to read and to break: nothing here needs training."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from detector.scorer import Scorer
from tests.data.make_bundle import KEPT, write_minimal


@pytest.fixture(scope="session")
def scorer() -> Scorer:
    return Scorer.open(KEPT, "cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the kept bundle as version 1 of a name."""
    return shutil.copytree(KEPT, tmp_path / "models" / "pumps" / "1")


@pytest.fixture
def least(tmp_path: Path) -> Path:
    """A bundle of the least files."""
    write_minimal(tmp_path / "least")
    return tmp_path / "least"
