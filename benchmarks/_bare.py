"""The bare loops that `residuum score` is measured against: read, run the same graph, write the score. Nothing else.

No check of what was read, no p-value, no verdict, no file that appears only when whole. Run in a process of its own:
`python -m benchmarks._bare WHAT BUNDLE TABLE TO`, WHAT being numbers, mixed or reasons.
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

Frame = Callable[[pl.DataFrame], pl.DataFrame]  # what was read -> what is written


def main() -> None:
    """Score a table."""
    what, bundle, table, to = sys.argv[1:]
    columns = json.loads(Path(bundle, "manifest.json").read_text())["columns"]
    session = _session(bundle)
    score = {"numbers": _numbers, "mixed": _mixed, "reasons": _reasons}[what](session, columns)
    with Path(table).open("rb", buffering=0) as source, Path(to).open("wb") as sink:
        read = _reader(source.readline().decode().strip().split(","), columns)
        for place, block in enumerate(_blocks(source)):
            score(read(block)).write_csv(sink, include_header=not place)


def _session(bundle: str) -> Any:  # noqa: ANN401 - ONNX Runtime ships no types
    """Open the bundle's graph on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(Path(bundle, "model.onnx").read_bytes(), options)


def _blocks(source: BinaryIO) -> Iterator[bytes]:
    """Cut a file into blocks of whole lines."""
    held = b""
    while chunk := source.read(BLOCK):
        cut = chunk.rfind(b"\n") + 1
        yield b"".join((held, memoryview(chunk)[:cut]))
        held = chunk[cut:]
    if held:
        yield held


def _reader(header: list[str], columns: list[dict[str, Any]]) -> Callable[[bytes], pl.DataFrame]:
    """Give what reads a block: categories as text, everything else as numbers."""
    texts = {column["name"] for column in columns if column["kind"] == "category"}
    schema = {name: pl.String() if name in texts else pl.Float64() for name in header}
    wanted = {column["name"] for column in columns}
    places = [place for place, name in enumerate(header) if name in wanted]
    return lambda block: pl.read_csv(block, has_header=False, columns=places, schema=schema)


def _run(session: Any, matrix: np.ndarray, outputs: list[str]) -> list[np.ndarray]:  # noqa: ANN401 - as above
    """Run the graph in batches."""
    parts = [session.run(outputs, {"row": matrix[at : at + BATCH]}) for at in range(0, len(matrix), BATCH)]
    return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]


def _numbers(session: Any, columns: list[dict[str, Any]]) -> Frame:  # noqa: ANN401 - as above
    """Score rows of numbers."""
    del columns
    return lambda frame: pl.DataFrame({"anomaly_score": _run(session, frame.to_numpy(order="c"), ["score"])[0]})


def _mixed(session: Any, columns: list[dict[str, Any]]) -> Frame:  # noqa: ANN401 - as above
    """Score rows of numbers and categories."""
    coded = [_code(column) for column in columns]

    def score(frame: pl.DataFrame) -> pl.DataFrame:
        matrix = frame.select(coded).to_numpy(order="c")
        return pl.DataFrame({"anomaly_score": _run(session, matrix, ["score"])[0]})

    return score


def _code(column: dict[str, Any]) -> pl.Expr:
    """Give a column as numbers."""
    cells = pl.col(column["name"])
    if column["kind"] != "category":
        return cells
    vocabulary, rare = column.get("vocabulary", []), column.get("rare", [])
    coding = {text: float(code) for code, text in enumerate(vocabulary)} | dict.fromkeys(rare, float(len(vocabulary)))
    return cells.replace_strict(coding, default=float(len(vocabulary) + bool(rare)), return_dtype=pl.Float64)


def _reasons(session: Any, columns: list[dict[str, Any]]) -> Frame:  # noqa: ANN401 - as above
    """Score rows of numbers, with the columns that contribute most, what they hold and what was expected: not in words."""
    names = pl.Series([column["name"] for column in columns])

    def score(frame: pl.DataFrame) -> pl.DataFrame:
        matrix = frame.to_numpy(order="c")
        scores, contribution, expected = _run(session, matrix, ["score", "contribution", "expected"])
        some = np.argpartition(-contribution, TOP - 1, axis=1)[:, :TOP]
        order = np.argsort(-np.take_along_axis(contribution, some, axis=1), axis=1)
        places = np.take_along_axis(some, order, axis=1)
        written: dict[str, pl.Series | np.ndarray] = {"anomaly_score": scores}
        for rank in range(TOP):
            place = places[:, rank, None]
            written[f"column_{rank}"] = names.gather(place[:, 0])
            written[f"found_{rank}"] = np.take_along_axis(matrix, place, axis=1)[:, 0]
            written[f"expected_{rank}"] = np.take_along_axis(expected, place, axis=1)[:, 0]
        return pl.DataFrame(written)

    return score


if __name__ == "__main__":
    main()
