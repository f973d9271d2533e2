"""The service keeps to its OpenAPI document: schemathesis sends requests that the document allows, and others."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.http.conftest import ASK, StartProcess

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
EXAMPLES = 10  # of each kind, for each operation
SAME = r"/presses(?!/score|/sessions|/versions/{version}/sessions)"  # routes that a series shares with other models


@pytest.mark.long
def test_schemathesis_finds_no_failure(
    start_process: StartProcess, models: Path, presses: tuple[Path, str], project: Path, tmp_path: Path
) -> None:
    shutil.copytree(models / "pumps", tmp_path / "models" / "pumps")  # requests change it
    shutil.copytree(presses[0], tmp_path / "models" / "presses")
    service = start_process(at=tmp_path / "models")
    here = Path(__file__).parent
    command = [SCHEMATHESIS, "--config-file", here / "schemathesis.toml", "run", f"{service.url}/openapi.json", "--no-color"]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.serving.http.schemathesis_bodies", "PYTHONPATH": str(project)}
    done = subprocess.run(
        [*map(str, command), "--seed", "1", "-n", str(EXAMPLES), "--exclude-path-regex", SAME],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    described = ASK.get(f"{service.url}/openapi.json").json()["paths"]
    paths = [path for name, path in described.items() if not re.search(SAME, name)]
    operations = sum(method in {"get", "post", "delete"} for path in paths for method in path)
    tested = re.search(r"Tested: +(\d+)", done.stdout)
    assert tested
    assert int(tested[1]) == operations - 1  # it starts with the document itself
    assert service.process.poll() is None
