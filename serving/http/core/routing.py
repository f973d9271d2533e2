"""Routing: `RouteTable` finds the `Route` of a request, which also gives its role, its metric label and its part of OpenAPI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

import msgspec
from starlette.routing import compile_path

from serving.http.core.authentication import Role
from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import Request, RequestHead
from serving.http.core.response import AnyResponse, Response

Handler = Callable[[Request], Awaitable[AnyResponse]]
InlineHandler = Callable[[RequestHead], Callable[[bytes], Response] | None]

Tag = Literal["Score", "Sessions", "Models", "Operate", "Service"]

JSON_TYPE = "application/json"
NO_ROUTE = "none"  # label of requests without a route
_NO_CONTENT: Mapping[str, Any] = MappingProxyType({})


class QueryParameter(NamedTuple):
    """A query parameter, as OpenAPI describes it; `annotation` is a type for msgspec's schema."""

    name: str
    annotation: Any
    description: str = ""
    images_only: bool = False


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A route.

    `request` and `response` map media types to the type of the body, from which OpenAPI derives the schema; a summary may name
    the model as `{name}`. A route without a role refuses everybody.
    """

    method: str
    path: str
    handler: Handler
    role: Role | None = None
    summary: str = ""  # a route without one is left out of OpenAPI
    tag: Tag = "Service"  # the group of routes to which it belongs in OpenAPI
    label: str = ""  # in metrics and the access log, if not the path
    query: Sequence[QueryParameter] = ()
    request: Mapping[str, Any] = _NO_CONTENT
    response: Mapping[str, Any] = _NO_CONTENT
    series_only: bool = False  # OpenAPI describes it for models of series only
    on_worker_0: bool = False  # other workers forward it
    inline: InlineHandler | None = None  # how the fast path answers a small body, if it can

    def require_content_type(self, request: RequestHead) -> None:
        """Raise unless the body of an operation is JSON by name: a web page may send text and forms to any origin.

        Raises:
            HttpProblem: it has another content type, or a body that is read has none.
        """
        if self.role != "operate" or self.method == "GET":
            return
        content_type = request.content_type
        if content_type == JSON_TYPE or not (content_type or (self.request and request.has_body)):
            return
        detail = f"an operation takes {JSON_TYPE}; send it as Content-Type"
        raise HttpProblem(415, "content_type", detail, path="Content-Type", found=content_type[:80], expected=JSON_TYPE)


class RouteMatch(NamedTuple):
    """The result of routing: `route` is None if the path or its method is unknown."""

    route: Route | None
    path_params: Mapping[str, str]
    role: Role | None
    allowed: Sequence[str]  # methods of the path

    @property
    def label(self) -> str:
        """The label of the route in metrics and the access log."""
        return NO_ROUTE if self.route is None else self.route.label or self.route.path

    def require_route(self, request: RequestHead) -> Route:
        """Return the route.

        Raises:
            HttpProblem: 404 for an unknown path, 405 for an unknown method.
        """
        if self.route is not None:
            return self.route
        if self.allowed:
            allowed = ", ".join(self.allowed)
            detail = f"{request.path[:80]} does not support {request.method[:20]}"
            raise HttpProblem(405, "route", detail, expected=allowed, headers=[(b"allow", allowed.encode())])
        raise HttpProblem(404, "route", f"no route matches {request.path[:80]}; /openapi.json lists the routes")


class InlineUrl(NamedTuple):
    """A URL of a route that the fast path can answer."""

    path: str
    query: bytes
    route: Route
    handler: InlineHandler
    path_params: Mapping[str, str]


class RouteTable:
    """Finds the route of a request."""

    def __init__(self, routes: Sequence[Route]) -> None:
        by_path: dict[str, dict[str, Route]] = {}
        for route in routes:
            by_path.setdefault(route.path, {})[route.method] = route
        self._by_pattern = [(compile_path(path)[0], methods) for path, methods in by_path.items()]
        self.find_inline = lru_cache(maxsize=1024)(self._find_inline)

    def find(self, method: str, path: str) -> RouteMatch:
        """Return the route of a request.

        An unknown method of a path requires the role of GET, an unknown path the role `score`.
        """
        for pattern, methods in self._by_pattern:
            if match := pattern.fullmatch(path):  # which, unlike match, accepts no final newline
                route = methods.get("GET" if method == "HEAD" else method)
                needed = route or methods.get("GET")
                allowed = sorted({*methods, *(("HEAD",) if "GET" in methods else ())})
                return RouteMatch(route, match.groupdict(), needed.role if needed else "score", allowed)
        return RouteMatch(None, {}, "score", ())

    def _find_inline(self, url: bytes) -> InlineUrl | None:
        """Return the inline route of the URL of a POST request, as its request line has it."""
        raw_path, _, query = url.partition(b"?")
        if not raw_path.isascii() or b"#" in url:
            return None
        path = unquote(raw_path.decode())
        match = self.find("POST", path)
        if match.route is None or match.route.inline is None:
            return None
        return InlineUrl(path, query, match.route, match.route.inline, match.path_params)
