"""The Open Inference Protocol v2 over REST: one input per column, with the binary tensor extension.

https://github.com/kserve/open-inference-protocol. A missing cell is NaN, `null` (an extension) or empty BYTES. For series
one input is the time, and one the key where the model has one; the rows of a request are scored like those of a file, and
the output `state` says which of them have a verdict. Contributions exist for models that score rows one by one.
Rejected rows have NaN as their score (`null` in JSON) and are listed in the response parameter `rejected`, as JSON; so are inputs
that are no columns, in `unknown_columns`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import numpy as np
import polars as pl

from detector.batch import ColumnDifferences, RecordBatch, Scalar
from detector.files.stream import BOM
from detector.inputs import SeriesInput
from detector.verdicts import DTYPES, REQUIRED, Verdicts
from detector.version import __version__
from serving.codecs.base import BodyError, CodecOptions, WholeBody
from serving.codecs.column_differences import MAX_LENGTH, MAX_NAMES
from serving.codecs.json import check_depth
from serving.codecs.json_limits import without_long_texts
from serving.limits import Limits
from serving.model import ServedModel

DATATYPES = {"number": "FP64", "category": "BYTES", "boolean": "BOOL", "date": "BYTES"}
DATATYPE_OF = {pl.Float64(): "FP64", pl.Boolean(): "BOOL", pl.String(): "BYTES"}
MISSING = {"FP64": "NaN; null in JSON", "BYTES": "no bytes; null in JSON", "BOOL": "null in JSON; none in a binary tensor"}
NUMPY = {
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BOOL": "?",
}
# The lowest and the highest number of each datatype that does not hold all numbers of JSON; BOOL may be 0 or 1.
BOUNDS: dict[str, tuple[float, float]] = {
    "BOOL": (0, 1),
    **{name: (np.iinfo(name.lower()).min, np.iinfo(name.lower()).max) for name in NUMPY if "INT" in name},
    "FP16": (float(np.finfo("f2").min), float(np.finfo("f2").max)),
    "FP32": (float(np.finfo("f4").min), float(np.finfo("f4").max)),
}
CLASSES = ("class", "class_probability")  # of models that have a classifier
EXPLANATIONS = ("contribution", "expected")
OUTPUTS = {name: DATATYPE_OF[dtype] for name, dtype in DTYPES.items()} | dict.fromkeys(EXPLANATIONS, "FP64")
HEADER_LENGTH = b"inference-header-content-length"
SERVER = {"name": "residuum", "version": __version__, "extensions": ["binary_tensor_data", "model_repository"]}


class _Parameters(msgspec.Struct, frozen=True):
    """The parameters that this service knows."""

    binary_data_size: int | None = None
    binary_data: bool | None = None
    binary_data_output: bool | None = None


_NO_PARAMETERS = _Parameters()


class InferenceInput(msgspec.Struct):
    """A column; like everywhere in a request, null stands for an optional member that is absent."""

    name: str
    shape: list[int]
    datatype: str
    parameters: _Parameters | None = None
    data: list[Any] | None = None


class RequestedOutput(msgspec.Struct):
    """An output that is asked for."""

    name: str
    parameters: _Parameters | None = None


class InferenceRequest(msgspec.Struct):
    """The JSON of a request."""

    inputs: list[InferenceInput]
    id: str | None = None
    parameters: _Parameters | None = None
    outputs: list[RequestedOutput] | None = None


class InferenceResponse(msgspec.Struct, omit_defaults=True):
    """The JSON of a response."""

    model_name: str
    model_version: str
    outputs: list[dict[str, Any]]
    id: str = ""
    parameters: dict[str, str] = {}


_DECODER = msgspec.json.Decoder(InferenceRequest)


class OipCodec(WholeBody):
    """Requests and responses of the protocol."""

    content_type = b"application/json"

    def __init__(self, model: ServedModel, options: CodecOptions) -> None:
        self._model = model
        self._options = options
        self._request = InferenceRequest([])
        self._outputs: Sequence[RequestedOutput] = ()
        self._rows = 0  # of the request
        self._values: dict[str, list[Scalar]] = {}  # of its inputs

    def decode(self, data: bytes, *, final: bool = True) -> RecordBatch:  # noqa: ARG002 - the body is whole
        """Decode a request."""
        head, tensors = _split(data, self._options.json_length)
        check_depth(head, 0, self._options.limits.max_depth)
        self._request = _decoded(head)
        self._outputs = _outputs(self._request, self._model)
        self._values = _values(self._request, tensors, self._options.limits)
        batch = _records(self._values, self._model, self._options.limits)
        self._rows = len(batch.rows) + len(batch.rejects)
        return batch

    def cells(self, rows: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        """Return the named cells of some rows."""
        return [{name: self._values[name][row] for name in names if name in self._values} for row in rows]

    def encode(self, verdicts: Verdicts) -> bytes:
        """Return JSON, followed by the tensors that are wanted in binary form."""
        request, model = self._request, self._model
        arrays = _arrays(verdicts, self._rows, model, [output.name for output in self._outputs])
        is_binary = (request.parameters or _NO_PARAMETERS).binary_data_output or False
        outputs, tensors = _encoded(self._outputs, arrays, is_binary=is_binary)
        response = InferenceResponse(model.name, str(model.version), outputs, id=request.id or "")
        if verdicts.rejects:
            rejects = sorted(verdicts.rejects, key=lambda reject: reject.row)
            response.parameters["rejected"] = msgspec.json.encode(rejects).decode()
        if unknown := verdicts.differences.unknown:
            response.parameters["unknown_columns"] = msgspec.json.encode(list(unknown)[:MAX_NAMES]).decode()
        head = msgspec.json.encode(response)
        if tensors:
            self.content_type = b"application/octet-stream"
            self.headers = [(HEADER_LENGTH, b"%d" % len(head))]
        return head + b"".join(tensors)


def metadata(model: ServedModel, versions: list[int]) -> dict[str, Any]:
    """Describe the inputs and outputs of a model."""
    columns, manifest = len(model.scorer.columns), model.scorer.manifest
    positions = manifest.image.width * manifest.image.height if manifest.image else columns
    shapes = {"contribution": [-1, positions + len(manifest.score.extra_terms)], "expected": [-1, columns]}
    inputs = [_described(column.name, DATATYPES[column.kind], "missing") for column in model.scorer.columns]
    if isinstance(model.scorer.input, SeriesInput):
        window = model.scorer.input.window
        roles = {window.time: f"rises from row to row; {window.length} rows of a series make a window"}
        inputs += [
            _described(name, "BYTES", "series", roles.get(name, "identifies a series")) for name in model.columns[columns:]
        ]
    return {
        "name": model.name,
        "versions": [str(version) for version in versions],
        "platform": "onnxruntime_onnx",
        "inputs": inputs,
        "outputs": [
            {"name": name, "datatype": OUTPUTS[name], "shape": shapes.get(name, [-1])} for name in _available_outputs(model)
        ],
    }


def _described(name: str, datatype: str, parameter: str, description: str = "") -> dict[str, Any]:
    parameters = {parameter: description or MISSING[datatype]}
    return {"name": name, "datatype": datatype, "shape": [-1], "parameters": parameters}


def _split(data: bytes, json_length: bytes) -> tuple[bytes, bytes]:
    """Split a body into its JSON and its tensors."""
    if not json_length:
        return data, b""
    if not json_length.isdigit() or int(json_length) > len(data):
        found = json_length.decode("latin-1")[:40]
        raise BodyError(400, "inference", "Inference-Header-Content-Length is not a length within this body", found=found)
    return data[: int(json_length)], data[int(json_length) :]


def _decoded(head: bytes) -> InferenceRequest:
    try:
        return _DECODER.decode(head.removeprefix(BOM))
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        raise _invalid(f"not an inference request: {message}", path.rstrip("`") or "$") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BodyError(400, "json", f"the body is not JSON: {error}") from error


def _default_outputs(model: ServedModel) -> tuple[str, ...]:
    """Return the outputs that a response has if the request names none."""
    required = tuple(sorted(REQUIRED))
    if isinstance(model.scorer.input, SeriesInput):
        return (*required, "state")
    return (*required, *CLASSES) if model.scorer.classifier else required


def _available_outputs(model: ServedModel) -> tuple[str, ...]:
    explanations = () if isinstance(model.scorer.input, SeriesInput) else EXPLANATIONS
    return (*_default_outputs(model), *explanations)


def _outputs(request: InferenceRequest, model: ServedModel) -> list[RequestedOutput]:
    available = _available_outputs(model)
    names: set[str] = set()
    for index, output in enumerate(request.outputs or ()):
        if output.name in names:
            path = f"$.outputs[{index}].name"
            raise _invalid("the name of an output occurs twice", path, output.name[:80], "every output once", status=400)
        names.add(output.name)
        if output.name not in available:
            path = f"$.outputs[{index}].name"
            raise _invalid("the model has no such output", path, output.name[:80], ", ".join(available))
    return request.outputs or [RequestedOutput(name) for name in _default_outputs(model)]


def _values(request: InferenceRequest, tensors: bytes, limits: Limits) -> dict[str, list[Scalar]]:
    """Gather the cells of every input."""
    values: dict[str, list[Scalar]] = {}
    start = rows = 0
    for index, column in enumerate(request.inputs):
        path = f"$.inputs[{index}]"
        _check_input(column, path, values)
        rows = _rows(column, path, rows if index else None, limits.max_rows)
        size = (column.parameters or _NO_PARAMETERS).binary_data_size
        if size is None:
            values[column.name] = _cells(column, rows, path)
            continue
        if column.data is not None:
            raise _invalid("an input has both data and a binary tensor", path, expected="one of them")
        if not 0 <= size <= len(tensors) - start:
            found, expected = f"{len(tensors) - start} bytes", f"{size} bytes"
            raise _invalid("the body ends before the tensor does", path, found, expected)
        values[column.name] = _unpacked(tensors[start : start + size], column.datatype, rows, path)
        start += size
    if start != len(tensors):
        detail = "bytes follow the JSON and the tensors that it describes"
        raise _invalid(detail, "$.inputs", f"{len(tensors)} bytes", f"{start} bytes")
    return values


def _records(values: dict[str, list[Scalar]], model: ServedModel, limits: Limits) -> RecordBatch:
    """Return the columns of the model."""
    absent = [name for name in model.columns if name not in values]
    if absent:
        expected = ", ".join(model.columns)[:1000]
        raise _invalid(f"the inputs lack {', '.join(absent[:20])}", "$.inputs", expected=expected)
    rows = len(next(iter(values.values()))) if values else 0
    unknown = {name[:MAX_LENGTH]: rows for name in values if name not in model.known}
    wanted = {name: values[name] for name in model.columns}
    batch = RecordBatch(wanted, range(rows), [], numbers=model.numbers, differences=ColumnDifferences(unknown))
    return without_long_texts(batch, limits.max_text)


def _check_input(column: InferenceInput, path: str, earlier: Collection[str]) -> None:
    """Raise if an input was there before, or has an unknown datatype."""
    if column.name in earlier:
        raise _invalid("the name of an input occurs twice", f"{path}.name", column.name[:80], "every input once")
    if column.datatype not in NUMPY and column.datatype != "BYTES":
        raise _invalid("unknown datatype", f"{path}.datatype", column.datatype[:40], ", ".join([*NUMPY, "BYTES"]))


def _rows(column: InferenceInput, path: str, rows: int | None, max_rows: int) -> int:
    """Return how many rows an input has."""
    found = column.shape[0] if column.shape and all(size == 1 for size in column.shape[1:]) else -1
    if found < 0 or (rows is not None and found != rows):
        expected = f"[{'rows' if rows is None else rows}]"
        raise _invalid("every input has one cell per row", f"{path}.shape", str(column.shape)[:80], expected)
    if found > max_rows:
        expected = f"at most {max_rows:,} rows"
        raise BodyError(413, "rows", f"{found:,} rows in one request", path=f"{path}.shape", expected=expected)
    return found


def _cells(column: InferenceInput, rows: int, path: str) -> list[Scalar]:
    """Read the cells that are in the JSON; those of shape [rows, 1] may be lists of one."""
    data = [cell[0] if isinstance(cell, list) and len(cell) == 1 else cell for cell in column.data or []]
    if len(data) != rows:
        raise _invalid("data and shape differ", f"{path}.data", f"{len(data)} cells", f"{rows} cells")
    for row, cell in enumerate(data):
        if isinstance(cell, list | dict):
            expected = "a number, a text, true, false or null"
            raise _invalid("a cell is not a plain value", f"{path}.data[{row}]", expected=expected)
    if column.datatype in BOUNDS:
        _check_range(data, column.datatype, path)
    return data


def _check_range(cells: Sequence[Scalar], datatype: str, path: str) -> None:
    """Raise if a number is none of a datatype."""
    low, high = BOUNDS[datatype]
    is_integral = not datatype.startswith("FP")
    for row, cell in enumerate(cells):
        if type(cell) is float or type(cell) is int:
            if low <= cell <= high and not (is_integral and cell % 1):
                continue
            noun = "an integer" if is_integral else "a number"
            expected = f"{noun} from {low:g} to {high:g}"
            raise _invalid(f"a cell is no {datatype}", f"{path}.data[{row}]", str(cell)[:80], expected, status=400)


def _unpacked(tensor: bytes, datatype: str, rows: int, path: str) -> list[Scalar]:
    """Read the cells of a binary tensor."""
    if datatype == "BYTES":
        return _unpacked_texts(tensor, rows, path)
    dtype = np.dtype(NUMPY[datatype])
    if len(tensor) != rows * dtype.itemsize:
        raise _invalid("size and shape differ", path, f"{len(tensor)} bytes", f"{rows * dtype.itemsize} bytes")
    if datatype == "BOOL":
        _check_range(np.frombuffer(tensor, np.uint8).tolist(), datatype, path)
    cells: list[Scalar] = np.frombuffer(tensor, dtype).tolist()
    return [None if isinstance(cell, float) and math.isnan(cell) else cell for cell in cells]


def _unpacked_texts(tensor: bytes, rows: int, path: str) -> list[Scalar]:
    """Read texts, each preceded by its length."""
    cells: list[Scalar] = []
    at = 0
    try:
        for _ in range(rows):
            (size,) = struct.unpack_from("<I", tensor, at)
            cells.append(tensor[at + 4 : at + 4 + size].decode())
            at += 4 + size
    except (struct.error, UnicodeDecodeError) as error:
        raise _invalid("the tensor does not hold UTF-8 texts, each preceded by its length", path) from error
    if at != len(tensor):
        raise _invalid("size and shape differ", path, f"{len(tensor)} bytes", f"{at} bytes")
    return cells


def _packed_texts(texts: Sequence[str]) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in map(str.encode, texts))


def _arrays(verdicts: Verdicts, rows: int, model: ServedModel, names: list[str]) -> dict[str, np.ndarray]:
    """Return the outputs, with a value for each row that was sent."""
    found = verdicts.values
    if not set(names).isdisjoint(EXPLANATIONS):
        explained = model.scorer.graph.explain(verdicts.matrix)
        found |= {"contribution": explained.contribution, "expected": explained.expected}
    at = np.asarray(verdicts.rows, np.int64)
    return {name: _with_rejected(found[name], at, rows) for name in names}


def _with_rejected(values: np.ndarray, at: np.ndarray, rows: int) -> np.ndarray:
    """Add the rejected rows: NaN, false or an empty text."""
    nothing = {"O": "", "b": False}.get(values.dtype.kind, np.nan)
    every = np.full((rows, *values.shape[1:]), nothing, values.dtype)
    every[at] = values
    return every


def _encoded(
    wanted_outputs: Sequence[RequestedOutput], arrays: dict[str, np.ndarray], *, is_binary: bool
) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return the outputs as JSON, and the tensors of those that are wanted in binary form, which is all if `is_binary`."""
    outputs: list[dict[str, Any]] = []
    tensors: list[bytes] = []
    for wanted in wanted_outputs:
        array, datatype = arrays[wanted.name], OUTPUTS[wanted.name]
        output = {"name": wanted.name, "datatype": datatype, "shape": list(array.shape)}
        binary = (wanted.parameters or _NO_PARAMETERS).binary_data
        if is_binary if binary is None else binary:
            tensors.append(_packed_texts(array.tolist()) if datatype == "BYTES" else array.astype(NUMPY[datatype]).tobytes())
            outputs.append(output | {"parameters": {"binary_data_size": len(tensors[-1])}})
        else:
            outputs.append(output | {"data": array.ravel().tolist()})
    return outputs, tensors


def _invalid(detail: str, path: str, found: str = "", expected: str = "", *, status: int = 422) -> BodyError:
    return BodyError(status, "inference", detail, path=path, found=found, expected=expected)
