"""The command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

RUN = "import sys; sys.argv[0] = 'residuum'; from residuum.cli import main; main()"


def command(*arguments: object, code: str = RUN) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def in_a_process(*arguments: object, code: str = RUN, **options: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401 - subprocess's own
    environment = {**os.environ, "COLUMNS": "150", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(command(*arguments, code=code), env=environment, capture_output=True, text=True, check=False, **options)
