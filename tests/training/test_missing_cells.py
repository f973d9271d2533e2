"""The filling of holes: its ONNX translation is one text, whatever process writes it."""

from __future__ import annotations

import os
import subprocess
import sys

WRITE = """
import sys
from training.missing_cells import complete_in_onnx
sys.stdout.buffer.write(complete_in_onnx.to_function_proto().SerializeToString())
"""


def test_every_process_translates_it_alike() -> None:
    """Names have other hashes in each, and onnxscript keeps what a loop carries in sets."""
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITE], stdout=subprocess.PIPE, env={**os.environ, "PYTHONHASHSEED": seed})
        for seed in ("1", "2", "3")
    ]
    first, *others = [process.communicate()[0] for process in processes]
    assert first
    assert all(other == first for other in others)
