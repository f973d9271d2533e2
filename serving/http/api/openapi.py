"""What the service can be asked, as OpenAPI 3.1 and as a page; both are made from the models that are open."""

from __future__ import annotations

import html
import re
from typing import Any

from detector.columns import EXPECTED
from detector.version import __version__
from detector.windows import FATES
from serving.http.api.query_params import MOST_REASONS
from serving.http.models.model import Model
from serving.http.models.sessions import LONGEST

Json = dict[str, Any]

ROW = "Row-"  # and the model's name
NUMBER, TEXT, COUNT = {"type": "number"}, {"type": "string"}, {"type": "integer"}
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
        "description": "A scored row; anomalies have reasons, and every row a class where the model has a classifier. A row of a "
        "series has a state; one that warms a window up has no score and no verdict.",
        "required": ["row", "anomaly_score", "p_value", "is_anomaly"],
        "properties": {
            "row": COUNT,
            "anomaly_score": {"type": ["number", "null"]},
            "p_value": {"type": ["number", "null"]},
            "is_anomaly": {"type": ["boolean", "null"]},
            "state": {**TEXT, "enum": list(FATES)},
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
    "Session": {
        "type": "object",
        "description": "What is remembered of a series between requests: its newest rows, at most a window of them.",
        "required": ["model", "version", "session", "rows", "window", "newest", "alarm", "idle_seconds"],
        "properties": {
            **dict.fromkeys(("model", "session"), TEXT),
            **dict.fromkeys(("version", "rows", "window"), COUNT),
            "newest": {"type": ["string", "null"]},
            "alarm": {"type": "boolean"},
            "idle_seconds": NUMBER,
        },
    },
    "Answer": {
        "type": "object",
        "required": ["model", "version", "threshold", "rows", "anomalies", "rejected", "verdicts"],
        "properties": {
            "model": TEXT,
            "threshold": NUMBER,
            "unknown_columns": {"type": "array", "items": TEXT, "description": "Keys of the first rows that no column has."},
            **dict.fromkeys(("version", "rows", "anomalies", "rejected", "unjudged", "alarms"), COUNT),
            "verdicts": {
                "type": "array",
                "items": {"anyOf": [{"$ref": "#/components/schemas/Verdict"}, {"$ref": "#/components/schemas/Rejected"}]},
            },
        },
    },
}
VERSION = {"name": "version", "in": "path", "required": True}
PAGES = {
    "/metrics": ("Metrics for Prometheus", "text/plain"),
    "/docs": ("This, for a person", "text/html"),
}
GETS = {
    "/openapi.json": "This",
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

HEATMAP = {
    "name": "heatmap",
    "in": "query",
    "description": "Of a PNG or JPEG body: a picture of where the error is, in place of verdicts.",
    "schema": {**TEXT, "enum": ["1"]},
}


def document(models: list[Model], *, versions: dict[str, list[int]], tokens: bool) -> Json:
    """Describe the service; `versions` are those of each name that can be asked for."""
    paths: Json = {path: {"get": _get(said)} for path, said in GETS.items()}
    paths |= {path: {"get": _shown(said, kind)} for path, (said, kind) in PAGES.items()}
    paths["/v2/repository/index"] = {"post": _get("The models that are open")}
    schemas = dict(SCHEMAS)
    for model in models:
        schemas[_named(model)] = _row(model)
        paths |= _paths(model, versions[model.name])
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


def _paths(model: Model, versions: list[int]) -> Json:
    """Describe what a model can be asked, the current version and each by its number."""
    name = model.name
    routes = {
        f"/v1/models/{name}": ("", {"get": _get(f"What {name} is")}),
        f"/v1/models/{name}/score": ("/score", {"post": _score(model)}),
        f"/v2/models/{name}": ("", {"get": _get(f"Inputs and outputs of {name}")}),
        f"/v2/models/{name}/ready": ("/ready", {"get": _get(f"Whether {name} takes work")}),
        f"/v2/models/{name}/infer": ("/infer", {"post": _infer(model)}),
    }
    which = {**VERSION, "schema": {**TEXT, "enum": [str(version) for version in versions]}}
    paths: Json = {path: operations for path, (_, operations) in routes.items()}
    for path, (tail, operations) in routes.items():
        paths[f"{path.removesuffix(tail)}/versions/{{version}}{tail}"] = {**operations, "parameters": [which]}
    if model.scorer.manifest.window:
        paths |= _sessions(model, which)
    paths |= {f"/v1/models/{name}/{what}": operation for what, operation in _operations(model, versions).items()}
    paths[f"/v2/repository/models/{name}/load"] = {"post": _get(f"Answer by the version of {name} that is pinned, or highest")}
    return paths


def _sessions(model: Model, which: Json) -> Json:
    """Describe the sessions of a series."""
    name, post = model.name, _score(model)
    body = post["requestBody"]["content"]
    some = ("application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream")
    said = {kind: post["responses"]["200"]["content"][kind] for kind in some}
    state = {"application/json": {"schema": {"$ref": "#/components/schemas/Session"}}}
    operations = {
        "post": {
            "summary": f"Verdicts by {name} on rows that follow those of the requests before; they need not name their series",
            "parameters": QUERY,
            "requestBody": {"required": True, "content": {kind: body[kind] for kind in some}},
            "responses": _responses(said),
        },
        "get": {"summary": "How a session stands", "responses": _responses(state)},
        "delete": {"summary": "Forget a session", "responses": _responses(state)},
    }
    key = {
        "name": "key",
        "in": "path",
        "required": True,
        "schema": {**TEXT, "pattern": "^[^/]*[^/\\s][^/]*$", "maxLength": LONGEST},
    }
    return {
        f"/v1/models/{name}/sessions/{{key}}": {**operations, "parameters": [key]},
        f"/v1/models/{name}/versions/{{version}}/sessions/{{key}}": {**operations, "parameters": [which, key]},
    }


def _operations(model: Model, versions: list[int]) -> dict[str, Json]:
    """Describe what those may ask who operate the service."""
    name = model.name
    version = {"type": "object", "required": ["version"], "properties": {"version": {**COUNT, "enum": versions}}}
    rate = {"false_alarm_rate": {**NUMBER, "exclusiveMinimum": 0, "exclusiveMaximum": 1}}
    thresholds = [
        {"type": "object", "required": list(one), "properties": one, "additionalProperties": False}
        for one in (rate, {"threshold": NUMBER})
    ]
    feedback = {
        "type": "object",
        "required": ["request_id", "row", "verdict"],
        "properties": {
            "request_id": {**TEXT, "minLength": 1, "maxLength": 64},
            "row": {**COUNT, "minimum": 0, "maximum": 2**31},
            "verdict": {**TEXT, "enum": ["false_alarm", "missed", "confirmed"]},
            "note": {**TEXT, "maxLength": 1000},
        },
        "additionalProperties": False,
    }
    several = {"type": "array", "items": feedback, "maxItems": 20}
    dry_run = {"name": "dry_run", "in": "query", "schema": {**TEXT, "enum": ["0", "1"]}}
    return {
        "shadow": {"get": _get(f"How far {name} and the version in its shadow agree")},
        "promote": {"post": _get(f"Answer by a version of {name}") | _asked({**version, "additionalProperties": False})},
        "rollback": {"post": _get(f"Answer by the version of {name} that answered before")},
        "thresholds": {
            "post": _get(f"Try another threshold for {name}, or write it as the next version")
            | _asked({"oneOf": thresholds})
            | {"parameters": [dry_run]}
        },
        "feedback": {"post": _get(f"Say what verdicts of {name} were worth") | _asked({"anyOf": [feedback, several]})},
    }


def _asked(schema: Json) -> Json:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def page(said: Json) -> str:
    """Write the description as a page that needs nothing else."""
    rows = [
        f"<tr><td><b>{method.upper()}</b></td><td><code>{html.escape(path)}</code></td>"
        f"<td>{html.escape(operation['summary'])}</td></tr>"
        for path, operations in said["paths"].items()
        for method, operation in operations.items()
        if method != "parameters"
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


def _shown(said: str, kind: str) -> Json:
    return {"summary": said, "responses": _responses({kind: {"schema": TEXT}})}


def _infer(model: Model) -> Json:
    """Describe inference by the Open Inference Protocol; that shapes and data must agree, no schema says."""
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": TEXT,
            "datatype": TEXT,
            "shape": {"type": "array", "items": COUNT},
            "data": {"type": "array", "items": SCALAR},
        },
    }
    inputs = {"type": "array", "description": "One input a column.", "items": tensor, "minItems": len(model.columns)}
    asked = {"type": "object", "required": ["inputs"], "properties": {"id": TEXT, "inputs": inputs}}
    told = {
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {"model_name": TEXT, "model_version": TEXT, "outputs": {"type": "array", "items": tensor}},
    }
    return {
        "summary": f"Verdicts by {model.name} on columns",
        "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
        "responses": _responses({"application/json": {"schema": told}}),
    }


def _score(model: Model) -> Json:
    """Describe the hot route of a model."""
    row = {"$ref": f"#/components/schemas/{_named(model)}"}
    rows = {"type": "array", "items": {"anyOf": [row, {"description": "Anything else is answered as rejected."}]}}
    wrapped = {"type": "object", "required": ["rows"], "properties": {"rows": rows}}
    binary = {"type": "string", "format": "binary"}
    return {
        "summary": f"Verdicts by {model.name} on rows",
        "parameters": [*QUERY, HEATMAP] if _sees_files(model) else QUERY,
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
                **({"image/png": {"schema": binary}} if _sees_files(model) else {}),
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


def _row(model: Model) -> Json:
    """Describe a row: any column may be missing, and what cannot be read is answered as such."""
    said = {column.name: f"{EXPECTED[column.kind]}; missing: null" for column in model.scorer.columns}
    if window := model.scorer.manifest.window:
        said |= dict.fromkeys(window.columns, "the name of a series") | {window.time: "the time, which rises from row to row"}
    return {"type": "object", "properties": {name: {**SCALAR, "description": each} for name, each in said.items()}}
