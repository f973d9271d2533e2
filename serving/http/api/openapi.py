"""The OpenAPI 3.1 document, derived from the route table, the types of its bodies, and the models that are open."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, get_args, get_origin

import msgspec
import numpy as np
from msgspec import Meta
from msgspec.structs import fields

from detector.columns import EXPECTED, as_frame
from detector.version import __version__
from serving.codecs.oip import InferenceRequest, metadata
from serving.http.core.problem_details import ProblemDetails
from serving.http.core.routing import QueryParameter, Route, Tag
from serving.http.models.sessions import MAX_KEY_LENGTH
from serving.model import ServedModel

Json = dict[str, Any]

ROW = "Row-"  # prefix of the schema of a model's rows
PATH_PARAMETER = re.compile(r"\{(\w+)\}")
REFERENCE = "#/components/schemas/{name}"
CELL = {"type": ["number", "string", "boolean", "null"]}
SESSION_KEY = {"type": "string", "pattern": r"^[^/]*[^/\s][^/]*$", "maxLength": MAX_KEY_LENGTH}
NOT_A_ROW = {"description": "Anything else is rejected, with a reason."}
BINARY = {"type": "string", "format": "binary"}
TAGS: dict[Tag, str] = {
    "Score": "Rows in, verdicts out.",
    "Sessions": "Series whose rows arrive request by request.",
    "Models": "The models that are open.",
    "Operate": "Versions, thresholds, feedback and history.",
    "Service": "Health, metrics and this document.",
}
TYPICAL = {"number": 0.0, "category": 0.0, "boolean": 1.0, "date": 1767225600.0}  # of columns whose range is unknown


class AnyJson:
    """Type of a body: a JSON object or array without a schema."""


class RowsBody:
    """Type of a body: rows of the model."""


class ImageFile:
    """Type of a body: an image file, for models that score such files."""


def document(
    routes: Sequence[Route], models: Sequence[ServedModel], versions: Mapping[str, Sequence[int]], *, requires_tokens: bool
) -> Json:
    """Return the document; `versions` are those of each model."""
    described = [route for route in routes if route.summary]
    schemas = _Schemas(described)
    paths: Json = {}
    for route in described:
        if "{name}" not in route.path:
            paths.setdefault(route.path, {})[route.method.lower()] = schemas.operation(route, None)
    for model in models:
        schemas.components[_row_name(model)] = _row_schema(model)
        for route in described:
            if "{name}" in route.path and (_is_series(model) or not route.series_only):
                path = route.path.replace("{name}", model.name)
                item = paths.setdefault(path, _path_item(path, versions[model.name]))
                item[route.method.lower()] = schemas.operation(route, model)
    components: Json = {"schemas": schemas.components}
    security: Json = {}
    if requires_tokens:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        security["security"] = [{"token": []}]
    info = {"title": "Residuum", "version": __version__, "description": "Scores rows: which are anomalies, and why."}
    tags = [{"name": tag, "description": text} for tag, text in TAGS.items()]
    return {"openapi": "3.1.0", "info": info, "tags": tags, "paths": paths, "components": components, **security}


class _Schemas:
    """The schemas of all types in a route table."""

    def __init__(self, routes: Iterable[Route]) -> None:
        types: dict[str, Any] = {"problem": ProblemDetails}
        for route in routes:
            bodies = [body for content in (route.request, route.response) for body in content.values()]
            for annotation in (*bodies, *(parameter.annotation for parameter in route.query)):
                types.setdefault(repr(annotation), annotation)
        others = {AnyJson, RowsBody, ImageFile, bytes}
        described = {key: _describable(annotation) for key, annotation in types.items() if annotation not in others}
        items = [item for annotation in types.values() for item in _item_structs(annotation).values()]
        all_types = [*described.values(), *(struct for structs in items for struct in structs)]
        found, self.components = msgspec.json.schema_components(all_types, ref_template=REFERENCE)
        self._schemas: Json = dict(zip(described, found, strict=False))

    def operation(self, route: Route, model: ServedModel | None) -> Json:
        """Describe a route, for one model if its path names one."""
        parameters = [
            self._parameter(parameter) for parameter in route.query if not parameter.images_only or _scores_files(model)
        ]
        summary = route.summary.replace("{name}", model.name) if model else route.summary
        operation: Json = {"tags": [route.tag], "summary": summary}
        if parameters:
            operation["parameters"] = parameters
        if route.request:
            operation["requestBody"] = {"required": True, "content": self._content(route.request, model)}
        problem = {"description": "A problem", "content": {"application/problem+json": {"schema": self._schemas["problem"]}}}
        success = {"description": "Success", "content": self._content(route.response, model)}
        return operation | {"responses": {"200": success, "4XX": problem, "5XX": problem}}

    def _parameter(self, parameter: QueryParameter) -> Json:
        schema = self._schemas[repr(parameter.annotation)]
        return {"name": parameter.name, "in": "query", "description": parameter.description, "schema": schema}

    def _content(self, content: Mapping[str, Any], model: ServedModel | None) -> Json:
        return {
            media_type: {"schema": self._schema(annotation, model), **_example(annotation, model)}
            for media_type, annotation in content.items()
            if annotation is not ImageFile or _scores_files(model)
        }

    def _schema(self, annotation: Any, model: ServedModel | None) -> Json:  # noqa: ANN401 - any type
        if annotation in {bytes, ImageFile}:
            return BINARY
        if annotation is AnyJson:
            return {"type": ["object", "array"]}
        if annotation is RowsBody and model is not None:
            row = {"$ref": REFERENCE.format(name=_row_name(model))}
            rows = {"type": "array", "items": {"anyOf": [row, NOT_A_ROW]}}
            return {"anyOf": [rows, {"type": "object", "required": ["rows"], "properties": {"rows": rows}}]}
        schema: Json = self._schemas[repr(annotation)]
        return schema


def _item_structs(annotation: Any) -> dict[str, tuple[type, ...]]:  # noqa: ANN401 - any type
    """Return the structs in the list fields of a struct that hold several kinds of them, by field."""
    if not (isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)):
        return {}
    lists = {field.name: get_args(field.type)[0] for field in fields(annotation) if get_origin(field.type) is list}
    return {name: get_args(item) for name, item in lists.items() if get_origin(item) is UnionType}


def _describable(annotation: Any) -> Any:  # noqa: ANN401 - any type
    """Return a type that msgspec can describe: a list of several kinds of structs, which it can only encode, is replaced."""
    replaced = {}
    for name, structs in _item_structs(annotation).items():
        references = [{"$ref": REFERENCE.format(name=struct.__name__)} for struct in structs]
        replaced[name] = Annotated[list[Any], Meta(extra_json_schema={"items": {"anyOf": references}})]
    if not replaced:
        return annotation
    described = [(field.name, replaced.get(field.name, field.type), field.default) for field in fields(annotation)]
    return msgspec.defstruct(annotation.__name__, described, kw_only=True, namespace={"__doc__": annotation.__doc__})


def _path_item(path: str, versions: Sequence[int]) -> Json:
    """Return the path item of a route, with the parameters of its path."""
    schemas = {"version": {"type": "string", "enum": [str(version) for version in versions]}, "key": SESSION_KEY}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": schemas[name]} for name in PATH_PARAMETER.findall(path)
    ]
    return {"parameters": parameters} if parameters else {}


def _is_series(model: ServedModel) -> bool:
    return model.scorer.manifest.window is not None


def _scores_files(model: ServedModel | None) -> bool:
    """Return whether a model scores image files."""
    image = model.scorer.manifest.image if model else None
    return image is not None and image.files


def _row_name(model: ServedModel) -> str:
    """Return the name of the schema of a model's rows, in the characters that OpenAPI allows."""
    return ROW + re.sub(r"[^A-Za-z0-9._-]", "_", model.name)


def _row_schema(model: ServedModel) -> Json:
    """Describe a row: every column may be missing, and a cell that cannot be read rejects the row."""
    descriptions = {column.name: f"{EXPECTED[column.kind]}; missing: null" for column in model.scorer.columns}
    if window := model.scorer.manifest.window:
        descriptions |= dict.fromkeys(window.columns, "the key of a series")
        descriptions[window.time] = "the time, which increases from row to row"
    return {"type": "object", "properties": {name: {**CELL, "description": text} for name, text in descriptions.items()}}


def _example(annotation: Any, model: ServedModel | None) -> Json:  # noqa: ANN401 - any type
    """Return an example of a body of rows, to start from when trying a route."""
    if model is None or model.scorer.manifest.image:
        return {}
    if annotation is RowsBody:
        return {"example": [_typical_row(model)]}
    if annotation is InferenceRequest:
        row = _typical_row(model)
        inputs = [
            {"name": each["name"], "shape": [1], "datatype": each["datatype"], "data": [row[each["name"]]]}
            for each in metadata(model, [])["inputs"]
        ]
        return {"example": {"inputs": inputs}}
    return {}


def _typical_row(model: ServedModel) -> Json:
    """Return a row in the middle of the ranges of training."""
    columns = model.scorer.columns
    middles = [
        TYPICAL[column.kind] if column.lowest is None or column.highest is None else _middle(column.lowest, column.highest)
        for column in columns
    ]
    row = as_frame(np.array([middles]), columns).row(0, named=True)
    if window := model.scorer.manifest.window:
        row |= dict.fromkeys(window.columns, "1") | {window.time: "2026-01-01 00:00:00"}
    return row


def _middle(lowest: float, highest: float) -> float:
    """Return the middle of a range, in no more digits than a reader wants."""
    return float(f"{lowest / 2 + highest / 2:.4g}")


def operations(description: Json) -> Iterable[tuple[str, str, str]]:
    """Yield the method, the path and the summary of each operation of a document."""
    for path, item in description["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield method.upper(), path, operation["summary"]
