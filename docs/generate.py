"""MkDocs hook that writes the generated parts of the reference.

A page holds a line `<!-- generated: NAME -->`; the function of that name in `GENERATORS` returns the Markdown that replaces it.
Commands come from typer, settings from their structs, variants from their table. The HTTP interface and the metrics are read
from a service and a stream worker that this hook starts on the bundle of `tests/data`. So no generated text is kept in git.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import pkgutil
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import typer.main

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "tests" / "data" / "bundle-1"
ROW = {"temperature": 61.5, "pressure": 2.1}
START_TIMEOUT = 120  # seconds
METRIC = re.compile(r"^# (HELP|TYPE) (residuum_\w+) (.*)$")
MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)

WORDS = {"str": "text", "text": "text", "int": "whole number", "integer": "whole number", "float": "number"}
WORDS |= {"int range": "whole number", "integer range": "whole number", "float range": "number", "path": "path"}

Json = dict[str, Any]


def on_page_markdown(markdown: str, **_: object) -> str:
    """Expand the generated parts of a page; MkDocs calls this."""
    return expand(markdown)


def expand(markdown: str) -> str:
    """Replace every line `<!-- generated: NAME -->` by what its generator returns."""
    return MARK.sub(lambda match: GENERATORS[match[1]](), markdown)


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    headings = list(headings)
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def _code(text: object) -> str:
    return f"`{text}`" if str(text) else ""


# Commands


def commands() -> str:
    """Return every command of the command line with its arguments and options."""
    group = _group()
    context = group.make_context("residuum", [], resilient_parsing=True)
    parts = ["## residuum\n\n" + (group.help or "") + "\n\n" + _parameters(group.get_params(context))]
    parts += [_command(name, command, context) for name, command in group.commands.items()]
    return "\n\n".join(parts)


def _group() -> Any:  # noqa: ANN401 - typer's own class
    from residuum.cli import app

    return typer.main.get_command(app)


def _command(name: str, command: Any, parent: Any) -> str:  # noqa: ANN401 - typer's own classes
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    usage = " ".join(["residuum", name, *command.collect_usage_pieces(context)])
    return f"## residuum {name}\n\n{command.help}\n\n```text\n{usage}\n```\n\n{_parameters(command.get_params(context))}"


def _parameters(parameters: Iterable[Any]) -> str:
    rows = []
    for parameter in parameters:
        is_option = parameter.param_type_name == "option"
        names = ", ".join(_code(name) for name in parameter.opts) if is_option else _code(parameter.human_readable_name)
        rows.append((names, _values(parameter), _default(parameter), parameter.help or ""))
    return table(("Option", "Takes", "Default", "Meaning"), rows)


def _values(parameter: Any) -> str:  # noqa: ANN401
    if getattr(parameter, "is_flag", False):
        return ""
    kind = parameter.type
    if (low := getattr(kind, "min", None)) is not None:
        return f"{WORDS[kind.name]} ≥ {low}"
    if choices := getattr(kind, "choices", None):
        return ", ".join(_code(choice) for choice in choices)
    return str(parameter.metavar or WORDS.get(kind.name, kind.name)).lower()


def _default(parameter: Any) -> str:  # noqa: ANN401
    if parameter.required:
        return "required"
    shown = getattr(parameter, "show_default", None)
    if isinstance(shown, str):
        return shown
    if parameter.default in (None, False, ()) or getattr(parameter, "is_flag", False):
        return ""
    return _code(parameter.default)


# Settings


def serve_settings() -> str:
    """Return the keys of `serve.toml`, from the struct that reads it."""
    return _struct_table(settings_of("serving.http.core.settings"), "serve")


def stream_settings() -> str:
    """Return the settings of the stream worker, from the struct that holds them."""
    return _struct_table(settings_of("serving.stream.settings"), "stream")


def settings_of(module: str) -> type[msgspec.Struct]:
    """Return the only settings struct of a module."""
    names = vars(importlib.import_module(module))
    (found,) = [each for name, each in names.items() if name.endswith("Settings") and each.__module__ == module]
    return found  # type: ignore[no-any-return]


def _struct_table(struct: type[msgspec.Struct], command: str) -> str:
    options = {parameter.name: parameter for parameter in _group().commands[command].params}
    rows = []
    for field in msgspec.structs.fields(struct):
        option = options.get(field.name)
        meaning = _meaning(field) or (option.help if option else "")
        name = option.opts[0].removeprefix("--") if option else field.encode_name
        rows.append((_code(name), "required" if field.required else _code(_plain(field.default)), meaning or ""))
    return table(("Key", "Default", "Meaning"), rows)


def _plain(value: object) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "-".join(map(str, value)) or "none"
    return "" if value is msgspec.NODEFAULT else str(value)


def _meaning(field: Any) -> str:  # noqa: ANN401 - msgspec's FieldInfo
    descriptions = (meta.description for meta in getattr(field.type, "__metadata__", ()) if isinstance(meta, msgspec.Meta))
    return next(filter(None, descriptions), "")


def summary() -> str:
    """Return the keys of the JSON summary of `score`, from the struct that holds them."""
    from serving.files.summary import DERIVED, ScoringSummary

    rows = [(_code(field.name), _meaning(field)) for field in msgspec.structs.fields(ScoringSummary)]
    rows += [(_code(name), (getattr(ScoringSummary, name).__doc__ or "").rstrip(".").lower()) for name in DERIVED]
    return table(("Key", "Meaning"), rows)


# Variants


def variants() -> str:
    """Return the table of variants."""
    from training.variants import VARIANTS

    rows = [(f"[`{name}`](#{name})", row.summary, row.choose_when, row.paper) for name, row in VARIANTS.items()]
    return table(("`--variant`", "What it does", "Choose it", "Paper"), rows)


def variant_settings() -> str:
    """Return each variant's settings, and those for windows where it takes windows."""
    from training.variants import VARIANTS

    parts = []
    for name, row in VARIANTS.items():
        parts.append(f"### {name}\n")
        if row.model is not None:
            parts.append(_variant_settings(row.settings))
        if row.windowed is not None:
            parts.append("With `--window`:\n\n" + _variant_settings(row.windowed.settings))
    return "\n".join(parts)


def _variant_settings(struct: type[msgspec.Struct]) -> str:
    schema = msgspec.json.schema(struct)
    fields: Json = schema["$defs"][struct.__name__]["properties"]
    defaults = struct()
    rows = [
        (_code(name), _range(field), _code(_plain(getattr(defaults, name))), str(field.get("description", "")))
        for name, field in fields.items()
    ]
    return table(("`--set`", "Takes", "Default", "Meaning"), rows)


def _range(schema: Json) -> str:
    if "enum" in schema:
        return ", ".join(_code(value) for value in schema["enum"])
    if schema.get("type") == "boolean":
        return "`true`, `false`"
    if schema.get("type") == "array":
        return "a width, such as 32" if schema.get("maxItems") == 1 else "widths, such as 300-150, or none"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]:,.10g}" for key, sign in signs.items() if key in schema]
    return " and ".join([{"integer": "whole number", "number": "number"}.get(schema.get("type", ""), ""), *bounds]).replace(
        " and ", " ", 1
    )


# The HTTP interface and the metrics, from running processes


@functools.cache
def service() -> tuple[Json, str]:
    """Return the OpenAPI document and the metrics of a service that has scored a row."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(BUNDLE, Path(folder) / "models" / "pumps" / "1")
        shutil.copytree(BUNDLE, Path(folder) / "models" / "pumps" / "2")
        (Path(folder) / "models" / "pumps" / "pin").write_text("1\n")
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with running("serve", "models", "--port", str(port), "--shadow-share", "1", folder=folder):
            document = json.loads(get(f"{url}/openapi.json"))
            for body in ([ROW], [{"temperature": "hot"}]):
                get(f"{url}/v1/models/pumps/score", json.dumps(body).encode())
            return document, get(f"{url}/metrics").decode()


@functools.cache
def worker_metrics() -> str:
    """Return the metrics of a stream worker that has scored a record."""
    port = free_port()
    arguments = ("stream", str(BUNDLE), "--from", "-", "--to", "-", "--metrics-port", str(port))
    with running(*arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin  # noqa: S101 - it is a pipe
        assert process.stdout  # noqa: S101 - it is a pipe
        process.stdin.write(json.dumps(ROW).encode() + b"\n" + b"{}\n")
        process.stdin.flush()
        process.stdout.readline()
        text = get(f"http://127.0.0.1:{port}/metrics").decode()
        process.stdin.close()
        return text


@contextmanager
def running(*arguments: str, folder: str | Path | None = None, **pipes: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of ours beside this process, and end it."""
    command = [sys.executable, "-m", "residuum", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL, **pipes)  # type: ignore[call-overload]  # noqa: S603 - our own command
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
        if process.stdout:
            process.stdout.close()


def get(url: str, body: bytes | None = None) -> bytes:
    """Return what a URL of our own service answers; wait for the service to start. With a body, send JSON."""
    request = urllib.request.Request(url, body, {"content-type": "application/json"})  # noqa: S310 - our own service
    until = time.monotonic() + START_TIMEOUT
    while True:
        try:
            with urllib.request.urlopen(request, timeout=START_TIMEOUT) as response:  # noqa: S310
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def http() -> str:
    """Return every route with its parameters, bodies and answers, and the schemas, from the service's OpenAPI document."""
    document = json.loads(json.dumps(service()[0]).replace("/pumps", "/{name}"))
    parts = ["## Routes\n"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in {"get", "post", "put", "delete", "patch"}:
                parts.append(_route(path, method, operation))
    parts.append("## Schemas\n")
    for name, schema in document["components"]["schemas"].items():
        parts.append(f"### {name}\n\n{schema.get('description', '')}\n\n{_properties(schema)}")
    return "\n".join(parts)


def _route(path: str, method: str, operation: Json) -> str:
    lines = [f"### {method.upper()} {path}\n", operation.get("summary") or operation.get("description") or "", ""]
    if operation.get("summary") and operation.get("description"):
        lines += [operation["description"], ""]
    if parameters := operation.get("parameters"):
        rows = [
            (_code(each["name"]), each["in"], _schema(each.get("schema", {})), each.get("description", "")) for each in parameters
        ]
        lines.append(table(("Parameter", "In", "Type", "Meaning"), rows))
    bodies = operation.get("requestBody", {}).get("content", {})
    if bodies:
        lines.append(table(("Body", "Schema"), [(_code(kind), _schema(body.get("schema", {}))) for kind, body in bodies.items()]))
    lines += [f"Answers {status}: {_answer(answer)}.\n" for status, answer in operation["responses"].items() if status[0] == "2"]
    return "\n".join(lines)


def _answer(answer: Json) -> str:
    return ", ".join(
        f"`{kind}` {_schema(content.get('schema', {}))}".strip() for kind, content in answer.get("content", {}).items()
    )


def _properties(schema: Json) -> str:
    properties = schema.get("properties")
    if not properties:
        return _schema(schema) + "\n"
    required = schema.get("required", [])
    rows = [
        (_code(name), _schema(field), "yes" if name in required else "", field.get("description", ""))
        for name, field in properties.items()
    ]
    return table(("Field", "Type", "Required", "Meaning"), rows)


def _schema(schema: Json) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(filter(None, (_schema(each) for each in schema[key])))
    if "enum" in schema:
        return ", ".join(_code(value) for value in schema["enum"])
    kind = schema.get("type", "")
    if kind == "array":
        return f"list of {_schema(schema.get('items', {})) or 'values'}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def metrics_of_service() -> str:
    """Return the metrics of `residuum serve`."""
    return _metrics(service()[1])


def metrics_of_worker() -> str:
    """Return the metrics of `residuum stream`."""
    return _metrics(worker_metrics())


def _metrics(text: str) -> str:
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if match := METRIC.match(line):
            found.setdefault(match[2], {})[match[1]] = match[3]
    labels = metric_labels()
    rows = []
    for name, texts in found.items():
        if not name.endswith("_created"):
            names = ", ".join(map(_code, labels.get(name.removesuffix("_total"), ())))
            rows.append((_code(name), texts["TYPE"], names, texts["HELP"]))
    return table(("Metric", "Type", "Labels", "Meaning"), rows)


def metric_labels() -> dict[str, tuple[str, ...]]:
    """Return the labels of every metric that a module of `serving` defines, by its name without the suffix `_total`."""
    import serving
    from serving.monitoring.metric_table import MetricDefinition

    labels = {}
    for module in pkgutil.walk_packages(serving.__path__, "serving."):
        for value in vars(importlib.import_module(module.name)).values():
            definitions = value.values() if isinstance(value, dict) else value if type(value) in {tuple, list} else [value]
            labels |= {each.name: each.labels for each in definitions if isinstance(each, MetricDefinition)}
    return labels


# Files of the repository that are pages too


def _file(name: str) -> str:
    """Return a file without its title, with links that hold inside the site."""
    text = (ROOT / name).read_text().partition("\n")[2].strip()
    return re.sub(r"\]\(docs/", "](../", text)


def _script(name: str) -> str:
    return f"```sh\n{(ROOT / name).read_text().strip()}\n```"


def notebook(name: str) -> str:
    """Return a notebook as Markdown, with its outputs."""
    parts = []
    for cell in json.loads((ROOT / "examples" / name).read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        else:
            parts += [f"```python\n{source}\n```", *map(_output, cell["outputs"])]
    return "\n\n".join(parts)


def _output(output: Json) -> str:
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "image/png" in data:
        return f"![A figure](data:image/png;base64,{''.join(data['image/png']).strip()})"
    return f"```text\n{''.join(data['text/plain']).rstrip()}\n```"


GENERATORS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "serve_settings": serve_settings,
    "stream_settings": stream_settings,
    "summary": summary,
    "variants": variants,
    "variant_settings": variant_settings,
    "http": http,
    "metrics_of_service": metrics_of_service,
    "metrics_of_worker": metrics_of_worker,
    "changelog": lambda: _file("CHANGELOG.md"),
    "contributing": lambda: _file("CONTRIBUTING.md"),
    "nightly": lambda: _script("examples/nightly.sh"),
    "notebook_tables": lambda: notebook("tables.ipynb"),
    "notebook_series": lambda: notebook("series.ipynb"),
}
