"""The Open Inference Protocol v2 over REST: one input a column, with the binary tensor extension.

https://github.com/kserve/open-inference-protocol. A missing cell is NaN, `null` (an extension of ours) or empty BYTES.
Of a series an input is the time, and one the key where it has one; the rows of a request are judged as a file's are. Which of
them have a verdict, the output `state` says; contributions are of rows that are judged one by one.
Rows that are rejected have NaN for a score (`null` in JSON) and are named in the answer's parameter `rejected`, as JSON.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from detector.batch import RecordBatch, Scalar
from detector.version import __version__
from detector.windows import Window
from serving.codecs.json_body import check_depth
from serving.codecs.json_limits import without_long_texts
from serving.http.api import row_log
from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import RequestHead
from serving.http.core.response import JSON, Response
from serving.http.core.settings import HttpSettings
from serving.http.models.model import Model
from serving.model import Judged
from serving.verdict_records import states_of

DATATYPES = {"number": "FP64", "category": "BYTES", "boolean": "BOOL", "date": "BYTES"}
MISSING = {"FP64": "NaN; null in JSON", "BYTES": "no bytes; null in JSON", "BOOL": "null in JSON; none in a binary tensor"}
OUTPUTS = {"is_anomaly": "BOOL", "class": "BYTES", "state": "BYTES"}  # the others are FP64
NUMPY = {
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BOOL": "?",
}
USUAL = ("anomaly_score", "is_anomaly", "p_value")
CLASSES = ("class", "class_probability")  # where the model has a classifier
EXPLAINING = ("contribution", "expected")
HEADER_LENGTH = b"inference-header-content-length"
SERVER = {"name": "residuum", "version": __version__, "extensions": ["binary_tensor_data", "model_repository"]}


class InferenceParameters(msgspec.Struct):
    """What this service knows of parameters."""

    binary_data_size: int | None = None
    binary_data: bool | None = None
    binary_data_output: bool = False


class InferenceInput(msgspec.Struct):
    """A column."""

    name: str
    shape: list[int]
    datatype: str
    parameters: InferenceParameters = msgspec.field(default_factory=InferenceParameters)
    data: list[Any] | None = None


class RequestedOutput(msgspec.Struct):
    """What is asked for."""

    name: str
    parameters: InferenceParameters = msgspec.field(default_factory=InferenceParameters)


class InferenceRequest(msgspec.Struct):
    """A request."""

    inputs: list[InferenceInput]
    id: str = ""
    parameters: InferenceParameters = msgspec.field(default_factory=InferenceParameters)
    outputs: list[RequestedOutput] = []


class OutputParameters(msgspec.Struct, frozen=True):
    """Parameters of an output in a binary tensor."""

    binary_data_size: int


class InferenceOutput(msgspec.Struct, frozen=True, omit_defaults=True):
    """An output, whose values are in `data` or in a binary tensor."""

    name: str
    datatype: str
    shape: list[int]
    parameters: OutputParameters | UnsetType = UNSET
    data: list[Any] | UnsetType = UNSET


class ResponseParameters(msgspec.Struct, frozen=True):
    """Parameters of a response; `rejected` is JSON."""

    rejected: str


class InferenceResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """The response to an inference request."""

    model_name: str
    model_version: str
    outputs: list[InferenceOutput]
    id: str | UnsetType = UNSET
    parameters: ResponseParameters | UnsetType = UNSET


_DECODER = msgspec.json.Decoder(InferenceRequest)


def metadata(model: Model, versions: list[int]) -> dict[str, Any]:
    """Say what a model takes and gives."""
    columns, manifest = len(model.scorer.columns), model.scorer.manifest
    places = manifest.image.width * manifest.image.height if manifest.image else columns
    shapes = {"contribution": [-1, places + len(manifest.score.extra_terms)], "expected": [-1, columns]}
    outputs = {name: shapes.get(name, [-1]) for name in _known(model)}
    return {
        "name": model.name,
        "versions": [str(version) for version in versions],
        "platform": "onnxruntime_onnx",
        "inputs": [
            *(_described(each.name, DATATYPES[each.kind]) for each in model.scorer.columns),
            *(_of_series(name, manifest.window) for name in model.columns[columns:] if manifest.window),
        ],
        "outputs": [{"name": name, "datatype": OUTPUTS.get(name, "FP64"), "shape": shape} for name, shape in outputs.items()],
    }


def _described(name: str, datatype: str) -> dict[str, Any]:
    """Describe an input: one cell a row."""
    return {"name": name, "datatype": datatype, "shape": [-1], "parameters": {"missing": MISSING[datatype]}}


def _of_series(name: str, window: Window) -> dict[str, Any]:
    """Describe the time or the key of a series, of which no cell may be missing."""
    what = (
        f"rises from row to row; {window.length} rows of a series make a window" if name == window.time else "tells series apart"
    )
    return {"name": name, "datatype": "BYTES", "shape": [-1], "parameters": {"series": what}}


def infer(body: bytes, request: RequestHead, model: Model, settings: HttpSettings) -> Response:
    """Judge the rows of a request.

    Raises:
        HttpProblem: it is none, or lacks a column.
    """
    head, tensors = _cut(body, request)
    check_depth(head, 0, settings.max_depth)
    asked = _decode(head)
    outputs = _outputs(asked, model)
    lines = _lines(asked, tensors, model, settings)
    if settings.log_rows:
        row_log.note(model, lines.values, lines.rows, request.id)
    judged = model.judge(lines, 0)
    arrays = _arrays(judged, model, len(lines.rows) + len(lines.rejects), [each.name for each in outputs])
    return _answer(asked, outputs, arrays, judged, model)


def _cut(body: bytes, request: RequestHead) -> tuple[bytes, bytes]:
    """Cut a body into its JSON and its tensors."""
    said = request.headers.get(HEADER_LENGTH, b"")
    if not said:
        return body, b""
    if not said.isdigit() or int(said) > len(body):
        raise HttpProblem(
            400, "inference", "Inference-Header-Content-Length is no length of this body", found=said.decode("latin-1")[:40]
        )
    return body[: int(said)], body[int(said) :]


def _decode(head: bytes) -> InferenceRequest:
    """Decode the JSON of a request."""
    try:
        return _DECODER.decode(head)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `")
        raise HttpProblem(422, "inference", f"no inference request: {said}", path=path.rstrip("`") or "$") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HttpProblem(400, "json", f"the body is not JSON: {error}") from error


def _usual(model: Model) -> tuple[str, ...]:
    """Give the outputs that a model gives unasked."""
    if model.scorer.manifest.window:
        return (*USUAL, "state")
    return (*USUAL, *CLASSES) if model.scorer.classifier else USUAL


def _known(model: Model) -> tuple[str, ...]:
    """Give all outputs that a model can give."""
    return _usual(model) if model.scorer.manifest.window else (*_usual(model), *EXPLAINING)


def _outputs(asked: InferenceRequest, model: Model) -> list[RequestedOutput]:
    """Give what is asked for."""
    known = _known(model)
    for place, each in enumerate(asked.outputs):
        if each.name not in known:
            raise HttpProblem(
                422,
                "inference",
                "there is no such output",
                path=f"$.outputs[{place}].name",
                found=each.name[:80],
                expected=", ".join(known),
            )
    return asked.outputs or [RequestedOutput(name) for name in _usual(model)]


def _lines(asked: InferenceRequest, tensors: bytes, model: Model, settings: HttpSettings) -> RecordBatch:
    """Gather the columns."""
    values: dict[str, list[Scalar]] = {}
    start = rows = 0
    for place, each in enumerate(asked.inputs):
        path = f"$.inputs[{place}]"
        rows = _rows(each, path, rows if place else None, settings.max_rows)
        size = each.parameters.binary_data_size
        if size is None:
            values[each.name] = _plain(each, rows, path)
            continue
        if not 0 <= size <= len(tensors) - start:
            raise HttpProblem(
                422,
                "inference",
                "the body ends before the tensor does",
                path=path,
                found=f"{len(tensors) - start} bytes",
                expected=f"{size} bytes",
            )
        values[each.name] = _unpacked(tensors[start : start + size], each.datatype, rows, path)
        start += size
    absent = [name for name in model.columns if name not in values]
    if absent:
        raise HttpProblem(
            422,
            "inference",
            f"the inputs lack {', '.join(absent[:20])}",
            path="$.inputs",
            expected=", ".join(model.columns)[:1000],
        )
    wanted = {name: values[name] for name in model.columns}
    return without_long_texts(RecordBatch(wanted, range(rows), [], 0, typed=False), settings.max_text)


def _rows(each: InferenceInput, path: str, rows: int | None, most: int) -> int:
    """Give how many rows an input has."""
    found = each.shape[0] if each.shape and all(size == 1 for size in each.shape[1:]) else -1
    if found < 0 or (rows is not None and found != rows):
        raise HttpProblem(
            422,
            "inference",
            "every input has one cell a row",
            path=f"{path}.shape",
            found=str(each.shape)[:80],
            expected=f"[{'rows' if rows is None else rows}]",
        )
    if found > most:
        raise HttpProblem(413, "rows", f"{found:,} rows in one request", path=f"{path}.shape", expected=f"at most {most:,} rows")
    return found


def _plain(each: InferenceInput, rows: int, path: str) -> list[Scalar]:
    """Read cells that stand in the JSON; those of shape [rows, 1] may be lists of one."""
    data = [cell[0] if isinstance(cell, list) and len(cell) == 1 else cell for cell in each.data or []]
    if len(data) != rows:
        raise HttpProblem(
            422, "inference", "data and shape differ", path=f"{path}.data", found=f"{len(data)} cells", expected=f"{rows} cells"
        )
    for place, cell in enumerate(data):
        if isinstance(cell, list | dict):
            raise HttpProblem(
                422,
                "inference",
                "a cell is no plain value",
                path=f"{path}.data[{place}]",
                expected="a number, a text, true, false or null",
            )
    return data


def _unpacked(tensor: bytes, datatype: str, rows: int, path: str) -> list[Scalar]:
    """Read cells out of a binary tensor."""
    if datatype == "BYTES":
        return _texts(tensor, rows, path)
    if datatype not in NUMPY:
        raise HttpProblem(
            422,
            "inference",
            "the datatype is not known",
            path=f"{path}.datatype",
            found=datatype[:40],
            expected=", ".join([*NUMPY, "BYTES"]),
        )
    dtype = np.dtype(NUMPY[datatype])
    if len(tensor) != rows * dtype.itemsize:
        raise HttpProblem(
            422,
            "inference",
            "size and shape differ",
            path=path,
            found=f"{len(tensor)} bytes",
            expected=f"{rows * dtype.itemsize} bytes",
        )
    cells: list[Scalar] = np.frombuffer(tensor, dtype).tolist()
    return [None if isinstance(cell, float) and not math.isfinite(cell) else cell for cell in cells]


def _texts(tensor: bytes, rows: int, path: str) -> list[Scalar]:
    """Read texts, each behind its length."""
    cells: list[Scalar] = []
    at = 0
    try:
        for _ in range(rows):
            (size,) = struct.unpack_from("<I", tensor, at)
            cells.append(tensor[at + 4 : at + 4 + size].decode())
            at += 4 + size
    except (struct.error, UnicodeDecodeError) as error:
        raise HttpProblem(422, "inference", "the tensor holds no UTF-8 texts behind their lengths", path=path) from error
    if at != len(tensor):
        raise HttpProblem(
            422, "inference", "size and shape differ", path=path, found=f"{len(tensor)} bytes", expected=f"{at} bytes"
        )
    return cells


def _packed(texts: list[str]) -> bytes:
    """Write texts, each behind its length."""
    return b"".join(struct.pack("<I", len(text)) + text for text in map(str.encode, texts))


def _arrays(judged: Judged, model: Model, rows: int, names: list[str]) -> dict[str, np.ndarray]:
    """Lay the verdicts out, one a row that was sent."""
    verdicts = judged.verdicts
    found = {"anomaly_score": verdicts.score, "is_anomaly": verdicts.is_anomaly, "p_value": verdicts.p_value}
    if verdicts.classes:
        found |= dict(zip(CLASSES, verdicts.classes, strict=True))
    if states := states_of(verdicts):
        found["state"] = np.array(states, dtype=object)
    if not set(names).isdisjoint(EXPLAINING):
        explained = model.scorer.graph.explain(judged.matrix)
        found |= {"contribution": explained.contribution, "expected": explained.expected}
    return {name: _spread(found[name], judged.rows, rows) for name in names}


def _spread(values: np.ndarray, at: Any, rows: int) -> np.ndarray:  # noqa: ANN401 - positions
    """Put values at their rows; elsewhere there is none: NaN, false or an empty text."""
    nothing = {"O": "", "b": False}.get(values.dtype.kind, np.nan)
    spread = np.full((rows, *values.shape[1:]), nothing, values.dtype)
    spread[np.asarray(at, np.int64)] = values
    return spread


def _answer(
    asked: InferenceRequest, outputs: list[RequestedOutput], arrays: dict[str, np.ndarray], judged: Judged, model: Model
) -> Response:
    """Write the answer: JSON, and behind it the tensors that were wanted so."""
    answered: list[InferenceOutput] = []
    tensors: list[bytes] = []
    for each in outputs:
        array = arrays[each.name]
        datatype = OUTPUTS.get(each.name, "FP64")
        binary = each.parameters.binary_data
        if asked.parameters.binary_data_output if binary is None else binary:
            tensors.append(_packed(array.tolist()) if datatype == "BYTES" else array.astype(NUMPY[datatype]).tobytes())
            size = OutputParameters(len(tensors[-1]))
            answered.append(InferenceOutput(each.name, datatype, list(array.shape), parameters=size))
        else:
            answered.append(InferenceOutput(each.name, datatype, list(array.shape), data=array.ravel().tolist()))
    rejected = msgspec.json.encode(sorted(judged.rejects, key=lambda each: each.row)).decode() if judged.rejects else ""
    response = InferenceResponse(
        model.name,
        str(model.version),
        answered,
        asked.id or UNSET,
        ResponseParameters(rejected) if rejected else UNSET,
    )
    head = msgspec.json.encode(response)
    if not tensors:
        return Response(head, JSON)
    return Response(head + b"".join(tensors), b"application/octet-stream", headers=[(HEADER_LENGTH, b"%d" % len(head))])
