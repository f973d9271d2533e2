"""The files of the live page at `/` and of the page `/docs`: ours, and those of Swagger UI, from the package that brings them."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from openapi_ui_bundles import swagger_ui

from serving import web
from serving.http.core.request import Request
from serving.http.core.response import Response

HTML, CSS = b"text/html; charset=utf-8", b"text/css; charset=utf-8"
SCRIPT, SVG = b"text/javascript; charset=utf-8", b"image/svg+xml"
OURS, SWAGGER = Path(web.__file__).parent, Path(swagger_ui.static_path)
FILES = {
    "/": (OURS / "page.html", HTML),
    "/page.css": (OURS / "page.css", CSS),
    "/page.js": (OURS / "page.js", SCRIPT),
    "/page.svg": (OURS / "page.svg", SVG),
    "/docs/docs.css": (OURS / "docs.css", CSS),
    "/docs/docs.js": (OURS / "docs.js", SCRIPT),
    "/docs/swagger-ui.css": (SWAGGER / "swagger-ui.css", CSS),
    "/docs/swagger-ui-bundle.js": (SWAGGER / "swagger-ui-bundle.js", SCRIPT),
}


async def web_file(request: Request) -> Response:
    """Return a file of a page."""
    path, content_type = FILES[request.path]
    return Response(path.read_bytes(), content_type)


def docs_page(operations: Iterable[Sequence[str]]) -> bytes:
    """Return the page `/docs`; browsers without JavaScript show the method, the path and the summary of each operation."""
    rows = ["".join(f"<td>{html.escape(cell)}</td>" for cell in operation) for operation in operations]
    table = "".join(f"<tr>{row}</tr>" for row in rows)
    return (OURS / "docs.html").read_bytes().replace(b"<!-- operations -->", table.encode())
