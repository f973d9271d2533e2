"""What the service can be asked, as OpenAPI 3.1 and as a page; both are made from the models that are open."""

from __future__ import annotations

import html
import re
from typing import Any

from detector.columns import EXPECTED, Column
from detector.version import __version__
from serving.http.model import Model
from serving.http.wishes import MOST_REASONS

Json = dict[str, Any]

ROW = "Row-"  # and the model's name
NUMBER, TEXT, COUNT, FLAG = {"type": "number"}, {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
SCALAR = {"type": ["number", "string", "boolean", "null"]}
SCHEMAS: Json = {
    "Problem": {
        "type": "object",
        "description": "Problem details, RFC 9457; `path` is where the fault is.",
        "required": ["title", "status", "detail"],
        "properties": {
            "status": COUNT,
            **dict.fromkeys(("title", "detail", "path", "found", "expected", "request_id", "error"), TEXT),
        },
    },
    "Reason": {
        "type": "object",
        "required": ["column", "found", "expected", "share"],
        "properties": {
            "column": TEXT,
            "found": {"type": ["string", "null"]},
            "expected": {"type": ["string", "null"]},
            "share": NUMBER,
        },
    },
    "Verdict": {
        "type": "object",
        "description": "A scored row; anomalies have reasons, and every row a class where the model has a classifier.",
        "required": ["row", "anomaly_score", "p_value", "is_anomaly"],
        "properties": {
            "row": COUNT,
            "anomaly_score": {"type": ["number", "null"]},
            "p_value": NUMBER,
            "is_anomaly": FLAG,
            "class": TEXT,
            "class_probability": NUMBER,
            "reasons": {"type": "array", "items": {"$ref": "#/components/schemas/Reason"}},
        },
    },
    "Rejected": {
        "type": "object",
        "description": "A row that could not be read.",
        "required": ["row", "rejected"],
        "properties": {
            "row": COUNT,
            "rejected": {
                "type": "object",
                "required": ["column", "found", "expected"],
                "properties": dict.fromkeys(("column", "found", "expected"), TEXT),
            },
        },
    },
    "Answer": {
        "type": "object",
        "required": ["model", "version", "threshold", "rows", "anomalies", "rejected", "verdicts"],
        "properties": {
            "model": TEXT,
            "threshold": NUMBER,
            **dict.fromkeys(("version", "rows", "anomalies", "rejected"), COUNT),
            "verdicts": {
                "type": "array",
                "items": {"anyOf": [{"$ref": "#/components/schemas/Verdict"}, {"$ref": "#/components/schemas/Rejected"}]},
            },
        },
    },
}
GETS = {
    "/livez": "Whether the process answers",
    "/readyz": "Whether it takes work",
    "/healthz": "The same",
    "/v1/models": "The models",
    "/v2": "The server, as the Open Inference Protocol has it",
    "/v2/health/live": "Whether the process answers",
    "/v2/health/ready": "Whether it takes work",
}
QUERY = [
    {"name": "reasons", "in": "query", "schema": {**COUNT, "minimum": 0, "maximum": MOST_REASONS, "default": 3}},
    {"name": "only", "in": "query", "schema": {**TEXT, "enum": ["anomalies"]}},
]


def document(models: list[Model], *, tokens: bool) -> Json:
    """Describe the service."""
    paths: Json = {path: {"get": _get(said)} for path, said in GETS.items()}
    paths["/metrics"] = {"get": {"summary": "Metrics for Prometheus", "responses": _responses({"text/plain": {"schema": TEXT}})}}
    schemas = dict(SCHEMAS)
    for model in models:
        schemas[_named(model)] = _row(model.scorer.columns)
        paths[f"/v1/models/{model.name}"] = {"get": _get(f"What {model.name} is")}
        paths[f"/v1/models/{model.name}/score"] = {"post": _score(model)}
        paths[f"/v2/models/{model.name}"] = {"get": _get(f"Inputs and outputs of {model.name}")}
    said: Json = {
        "openapi": "3.1.0",
        "info": {"title": "Residuum", "version": __version__, "description": "Verdicts on rows: anomalies, and why."},
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if tokens:
        said["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        said["security"] = [{"token": []}]
    return said


def page(said: Json) -> str:
    """Write the description as a page that needs nothing else."""
    rows = [
        f"<tr><td><b>{method.upper()}</b></td><td><code>{html.escape(path)}</code></td>"
        f"<td>{html.escape(operation['summary'])}</td></tr>"
        for path, operations in said["paths"].items()
        for method, operation in operations.items()
    ]
    tables = [
        f"<h2>{html.escape(name)}</h2><table>"
        + "".join(
            f"<tr><td><code>{html.escape(column)}</code></td><td>{html.escape(schema['description'])}</td></tr>"
            for column, schema in schemas["properties"].items()
        )
        + "</table>"
        for name, schemas in said["components"]["schemas"].items()
        if name.startswith(ROW)
    ]
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Residuum</title>"
        f"<h1>Residuum {html.escape(said['info']['version'])}</h1>"
        "<p>The same for programs: <a href=openapi.json>openapi.json</a></p>"
        f"<table>{''.join(rows)}</table>{''.join(tables)}</html>"
    )


def _get(said: str) -> Json:
    return {"summary": said, "responses": _responses({"application/json": {"schema": {"type": ["object", "array"]}}})}


def _score(model: Model) -> Json:
    """Describe the hot route of a model."""
    row = {"$ref": f"#/components/schemas/{_named(model)}"}
    rows = {"type": "array", "items": row}
    wrapped = {"type": "object", "required": ["rows"], "properties": {"rows": rows}}
    binary = {"type": "string", "format": "binary"}
    return {
        "summary": f"Verdicts by {model.name} on rows",
        "parameters": QUERY,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"anyOf": [rows, wrapped]}},
                **{f"application/{kind}": {"schema": binary} for kind in ("x-ndjson", "vnd.apache.arrow.stream", "octet-stream")},
                **{f"image/{kind}": {"schema": binary} for kind in (("png", "jpeg") if _sees_files(model) else ())},
            },
        },
        "responses": _responses(
            {
                "application/json": {"schema": {"$ref": "#/components/schemas/Answer"}},
                **{f"application/{kind}": {"schema": binary} for kind in ("x-ndjson", "vnd.apache.arrow.stream", "octet-stream")},
            }
        ),
    }


def _sees_files(model: Model) -> bool:
    """Tell whether a model judges files of images."""
    image = model.scorer.manifest.image
    return image is not None and image.files


def _responses(content: Json) -> Json:
    fault = {
        "description": "A fault",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    return {"200": {"description": "An answer", "content": content}, "4XX": fault, "5XX": fault}


def _named(model: Model) -> str:
    """Give a name for a model's rows, of characters that OpenAPI allows."""
    return ROW + re.sub(r"[^A-Za-z0-9._-]", "_", model.name)


def _row(columns: tuple[Column, ...]) -> Json:
    """Describe a row: any column may be missing, and what cannot be read is answered as such."""
    return {
        "type": "object",
        "properties": {column.name: {**SCALAR, "description": f"{EXPECTED[column.kind]}; missing: null"} for column in columns},
    }
