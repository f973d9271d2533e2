"""Programs that are no Python packages, and that some tests need."""

from __future__ import annotations

import os
import shutil

import pytest

CI = "RESIDUUM_CI"  # .ci/run sets it: it has installed all of them


def program(name: str, package: str) -> str:
    """Give the path of a program; where it is not installed the test is skipped, in CI it fails."""
    found = shutil.which(name)
    if found:
        return found
    said = f"{name} is not installed; on Debian: apt-get install {package}"
    if os.environ.get(CI):
        pytest.fail(said)
    pytest.skip(said)
