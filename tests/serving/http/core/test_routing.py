"""The route table: one definition per route, from which routing and roles derive."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from serving.http.api.routes import Apis, build_routes
from serving.http.core.authentication import authorise
from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import Request, RequestHead
from serving.http.core.response import Response
from serving.http.core.routing import NO_ROUTE, Route, RouteTable

NO_TOKENS = None


async def answer(_request: Request) -> Response:
    return Response(b"")


@pytest.fixture(scope="module")
def routes() -> RouteTable:
    """The routes of the service, with handlers that do nothing."""
    apis = Apis(*(Mock() for _ in Apis._fields))
    return build_routes(apis, Mock(), Mock(), Mock(), tokens=False)


def test_a_route_without_a_role_refuses_every_request() -> None:
    match = RouteTable([Route(method="GET", path="/forgotten", handler=answer)]).find("GET", "/forgotten")
    tokens = Mock()  # accepts every token
    for authentication in (NO_TOKENS, tokens):
        with pytest.raises(HttpProblem, match="no role is defined") as raised:
            authorise(authentication, RequestHead("GET", "/forgotten", b"", []), match.role)
        assert raised.value.status == 403


def test_every_route_of_the_service_has_a_role(routes: RouteTable) -> None:
    defined = [route for _, methods in routes._by_pattern for route in methods.values()]  # noqa: SLF001
    assert len(defined) > 30
    assert [route.path for route in defined if route.role is None] == []


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/", "public"),
        ("GET", "/livez", "public"),
        ("GET", "/openapi.json", "public"),
        ("GET", "/metrics", "metrics"),
        ("GET", "/v1/events", "operate"),
        ("GET", "/v1/models", "score"),
        ("POST", "/v1/models/pumps/score", "score"),
        ("POST", "/v1/models/pumps/versions/1/score", "score"),
        ("POST", "/v1/models/pumps/sessions/promote", "score"),  # a session key may be any word
        ("POST", "/v1/models/pumps/promote", "operate"),
        ("POST", "/v1/models/pumps/rollback", "operate"),
        ("POST", "/v1/models/pumps/thresholds", "operate"),
        ("POST", "/v1/models/pumps/feedback", "operate"),
        ("POST", "/v2/repository/models/pumps/load", "operate"),
        ("GET", "/v1/models/pumps/promote", "score"),  # no such method
        ("POST", "/nowhere", "score"),
    ],
)
def test_roles(routes: RouteTable, method: str, path: str, role: str) -> None:
    assert routes.find(method, path).role == role


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("POST", "/livez", 405, "GET, HEAD"),
        ("PUT", "/v1/models/pumps/sessions/7", 405, "DELETE, GET, HEAD, POST"),
        ("GET", "/v1/models/pumps/score", 405, "POST"),
        ("GET", "/livez\n", 404, None),
        ("GET", "/v1/models/a/b/c/d", 404, None),
        ("POST", "/v1/models//score", 404, None),
    ],
)
def test_unknown_paths_and_methods(routes: RouteTable, method: str, path: str, status: int, allow: str | None) -> None:
    match = routes.find(method, path)
    with pytest.raises(HttpProblem) as raised:
        match.require_route(RequestHead(method, path, b"", []))
    assert match.label == NO_ROUTE
    assert raised.value.status == status
    assert dict(raised.value.headers).get(b"allow", b"").decode() == (allow or "")


def test_a_match_has_the_path_parameters_and_the_label(routes: RouteTable) -> None:
    match = routes.find("HEAD", "/v1/models/pumps/versions/2")
    assert match.path_params == {"name": "pumps", "version": "2"}
    assert match.label == "/v1/models/{name}/versions/{version}"


def test_the_fast_path_finds_scoring_routes_alone(routes: RouteTable) -> None:
    found = routes.find_inline(b"/v1/models/a%20b/versions/3/score?only=anomalies")
    assert found is not None
    assert (found.path, found.query) == ("/v1/models/a b/versions/3/score", b"only=anomalies")
    assert (found.route.label, found.path_params) == ("score", {"name": "a b", "version": "3"})
    for url in (b"/v1/models/pumps/promote", b"/livez", b"/nowhere", b"/v1/models/pumps/score#x", "/v1/models/é/score".encode()):
        assert routes.find_inline(url) is None
