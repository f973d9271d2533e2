"""Lower bound for `residuum serve` on whole bodies: the libraries that parse and score them, alone.

There is no decision, no response and no socket. `python -m benchmarks.baselines.libraries BUNDLE NDJSON RAW` prints the CPU
seconds of msgspec and ONNX Runtime on lines of JSON, and of ONNX Runtime on the same rows as float64; both files are read
beforehand.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime

BLOCK = 64 << 10  # bytes, about what a server receives at a time
BATCH = 2048  # rows


def main() -> None:
    """Measure both and print the CPU seconds."""
    bundle, ndjson, raw = map(Path, sys.argv[1:])
    names = [column["name"] for column in json.loads((bundle / "manifest.json").read_text())["columns"]]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession((bundle / "model.onnx").read_bytes(), options)
    blocks = _blocks(ndjson.read_bytes())
    matrix = np.frombuffer(raw.read_bytes(), "<f8").reshape(-1, len(names))
    lines = msgspec.json.Decoder(msgspec.defstruct("Row", [(name, float | None, None) for name in names], gc=False))

    def score_lines() -> None:
        for block in blocks:
            rows = list(map(msgspec.structs.astuple, lines.decode_lines(block)))
            session.run(["score"], {"row": np.array(rows, dtype=np.float64)})

    def score_matrix() -> None:
        for start in range(0, len(matrix), BATCH):
            session.run(["score"], {"row": matrix[start : start + BATCH]})

    print(_cpu_seconds(score_lines), _cpu_seconds(score_matrix))


def _blocks(text: bytes) -> list[bytes]:
    """Return the text in blocks of whole lines."""
    blocks, start = [], 0
    while start < len(text):
        end = text.rfind(b"\n", start, start + BLOCK) + 1 or len(text)
        blocks.append(text[start:end])
        start = end
    return blocks


def _cpu_seconds(work: Callable[[], Any]) -> float:
    """Return the CPU seconds of a call, after one that warms up."""
    work()
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
