"""Programs that some tests need and that are no Python packages."""

from __future__ import annotations

import os
import shutil

import pytest

CI = "RESIDUUM_CI"  # set by .ci/run, which installs all of them


def program(name: str, package: str) -> str:
    """Return the path of a program; skip the test where it is missing, fail it in CI."""
    found = shutil.which(name)
    if found:
        return found
    message = f"{name} is not installed; on Debian: apt-get install {package}"
    if os.environ.get(CI):
        pytest.fail(message)
    pytest.skip(message)
