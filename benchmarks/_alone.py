"""What `residuum serve` is measured against on whole bodies: the library that reads them and the one that scores them, alone.

No verdict, no answer, no socket. `python -m benchmarks._alone BUNDLE NDJSON RAW` prints the processor seconds of msgspec and
ONNX Runtime on lines of JSON, and of ONNX Runtime on the same rows as float64, both read beforehand.
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

BLOCK = 64 << 10  # bytes, which is about what a server is given at a time
BATCH = 2048  # rows


def main() -> None:
    """Measure both."""
    bundle, ndjson, raw = map(Path, sys.argv[1:])
    names = [column["name"] for column in json.loads((bundle / "manifest.json").read_text())["columns"]]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession((bundle / "model.onnx").read_bytes(), options)
    blocks = _blocks(ndjson.read_bytes())
    matrix = np.frombuffer(raw.read_bytes(), "<f8").reshape(-1, len(names))
    lines = msgspec.json.Decoder(msgspec.defstruct("Row", [(name, float | None, None) for name in names], gc=False))

    def of_lines() -> None:
        for block in blocks:
            rows = list(map(msgspec.structs.astuple, lines.decode_lines(block)))
            session.run(["score"], {"row": np.array(rows, dtype=np.float64)})

    def of_matrix() -> None:
        for at in range(0, len(matrix), BATCH):
            session.run(["score"], {"row": matrix[at : at + BATCH]})

    print(_seconds(of_lines), _seconds(of_matrix))


def _blocks(text: bytes) -> list[bytes]:
    """Cut lines into blocks."""
    blocks, start = [], 0
    while start < len(text):
        end = text.rfind(b"\n", start, start + BLOCK) + 1 or len(text)
        blocks.append(text[start:end])
        start = end
    return blocks


def _seconds(work: Callable[[], Any]) -> float:
    """Give the processor time of some work, done twice; the second time counts."""
    work()
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
