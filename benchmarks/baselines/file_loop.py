"""Lower bound for `residuum score`: bare loops that read, run the same graph and write the score.

They do not validate, compute p-values, decide or write atomically. Each runs in a process of its own:
`python -m benchmarks.baselines.file_loop KIND BUNDLE TABLE OUTPUT`, where KIND is numbers, mixed or reasons.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnxruntime
import polars as pl

BLOCK = 4 << 20
BATCH = 2048
TOP = 3

FrameScorer = Callable[[pl.DataFrame], pl.DataFrame]  # rows read -> rows written


def main() -> None:
    """Score a table and write its scores."""
    kind, bundle, table, output = sys.argv[1:]
    columns = json.loads(Path(bundle, "manifest.json").read_text())["columns"]
    session = _session(bundle)
    score = {"numbers": _numbers, "mixed": _mixed, "reasons": _reasons}[kind](session, columns)
    with Path(table).open("rb", buffering=0) as source, Path(output).open("wb") as sink:
        read = _reader(source.readline().decode().strip().split(","), columns)
        for number, block in enumerate(_blocks(source)):
            score(read(block)).write_csv(sink, include_header=number == 0)


def _session(bundle: str) -> Any:  # noqa: ANN401 - ONNX Runtime ships no types
    """Return the bundle's graph on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(Path(bundle, "model.onnx").read_bytes(), options)


def _blocks(source: BinaryIO) -> Iterator[bytes]:
    """Yield blocks of whole lines."""
    rest = b""
    while chunk := source.read(BLOCK):
        cut = chunk.rfind(b"\n") + 1
        yield b"".join((rest, memoryview(chunk)[:cut]))
        rest = chunk[cut:]
    if rest:
        yield rest


def _reader(header: list[str], columns: list[dict[str, Any]]) -> Callable[[bytes], pl.DataFrame]:
    """Return a reader of blocks: categories as text, everything else as numbers."""
    texts = {column["name"] for column in columns if column["kind"] == "category"}
    schema = {name: pl.String() if name in texts else pl.Float64() for name in header}
    wanted = {column["name"] for column in columns}
    indices = [index for index, name in enumerate(header) if name in wanted]
    return lambda block: pl.read_csv(block, has_header=False, columns=indices, schema=schema)


def _run(session: Any, matrix: np.ndarray, outputs: list[str]) -> list[np.ndarray]:  # noqa: ANN401 - as above
    """Return the graph's outputs, computed in batches."""
    parts = [session.run(outputs, {"row": matrix[start : start + BATCH]}) for start in range(0, len(matrix), BATCH)]
    return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]


def _numbers(session: Any, columns: list[dict[str, Any]]) -> FrameScorer:  # noqa: ANN401 - as above
    """Return a scorer of rows of numbers."""
    del columns
    return lambda frame: pl.DataFrame({"anomaly_score": _run(session, frame.to_numpy(order="c"), ["score"])[0]})


def _mixed(session: Any, columns: list[dict[str, Any]]) -> FrameScorer:  # noqa: ANN401 - as above
    """Return a scorer of rows of numbers and categories."""
    coded = [_code(column) for column in columns]

    def score(frame: pl.DataFrame) -> pl.DataFrame:
        matrix = frame.select(coded).to_numpy(order="c")
        return pl.DataFrame({"anomaly_score": _run(session, matrix, ["score"])[0]})

    return score


def _code(column: dict[str, Any]) -> pl.Expr:
    """Return the expression that turns a column into numbers."""
    cells = pl.col(column["name"])
    if column["kind"] != "category":
        return cells
    vocabulary, rare = column.get("vocabulary", []), column.get("rare", [])
    coding = {text: float(code) for code, text in enumerate(vocabulary)} | dict.fromkeys(rare, float(len(vocabulary)))
    return cells.replace_strict(coding, default=float(len(vocabulary) + bool(rare)), return_dtype=pl.Float64)


def _reasons(session: Any, columns: list[dict[str, Any]]) -> FrameScorer:  # noqa: ANN401 - as above
    """Return a scorer that adds the columns that contribute most, with their found and expected values."""
    names = pl.Series([column["name"] for column in columns])

    def score(frame: pl.DataFrame) -> pl.DataFrame:
        matrix = frame.to_numpy(order="c")
        scores, contribution, expected = _run(session, matrix, ["score", "contribution", "expected"])
        largest = np.argpartition(-contribution, TOP - 1, axis=1)[:, :TOP]
        order = np.argsort(-np.take_along_axis(contribution, largest, axis=1), axis=1)
        ranked = np.take_along_axis(largest, order, axis=1)
        output: dict[str, pl.Series | np.ndarray] = {"anomaly_score": scores}
        for rank in range(TOP):
            column = ranked[:, rank, None]
            output[f"column_{rank}"] = names.gather(column[:, 0])
            output[f"found_{rank}"] = np.take_along_axis(matrix, column, axis=1)[:, 0]
            output[f"expected_{rank}"] = np.take_along_axis(expected, column, axis=1)[:, 0]
        return pl.DataFrame(output)

    return score


if __name__ == "__main__":
    main()
