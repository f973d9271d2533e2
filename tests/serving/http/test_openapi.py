"""What the service says of itself holds: schemathesis asks it everything that /openapi.json allows, and much that it does not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.serving.http.conftest import ASK, Start

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
EXAMPLES = 10  # of each kind, for each operation
SAME = r"/presses(?!/score|/sessions|/versions/{version}/sessions)"  # what a series answers as any other model does


def test_schemathesis_finds_no_failure(
    start: Start, models: Path, presses: tuple[Path, str], project: Path, tmp_path: Path
) -> None:
    shutil.copytree(models / "pumps", tmp_path / "models" / "pumps")  # it is operated on, too
    shutil.copytree(presses[0], tmp_path / "models" / "presses")
    service = start(at=tmp_path / "models")
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
    some = [path for name, path in described.items() if not re.search(SAME, name)]
    operations = sum(method in {"get", "post", "delete"} for path in some for method in path)
    tested = re.search(r"Tested: +(\d+)", done.stdout)
    assert tested
    assert int(tested[1]) == operations - 1  # the description itself is where it starts from
    assert service.process.poll() is None
