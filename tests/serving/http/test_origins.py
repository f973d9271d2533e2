"""Requests of foreign web pages are refused, and nothing is written; the service's own pages and other clients are answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.http.conftest import ASK, Service, Start, copy
from tests.tables import normal_rows

JSON = {"content-type": "application/json"}
PAGE = "https://dash.example"
FOREIGN = [
    {"origin": "http://attacker.example"},
    {"origin": "null"},
    {"origin": "http://localhost:1"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "http://attacker.example", "sec-fetch-site": "cross-site"},
    {"host": "attacker.example"},
    {"host": "attacker.example", "origin": "http://attacker.example", "sec-fetch-site": "same-origin"},
]
OPERATIONS: dict[str, Any] = {
    "v1/models/pumps/thresholds": {"false_alarm_rate": 0.2},
    "v1/models/pumps/promote": {"version": 1},
    "v1/models/pumps/rollback": None,
    "v1/models/pumps/feedback": {"request_id": "x", "row": 0, "verdict": "missed"},
    "v2/repository/models/pumps/load": None,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy(tmp_path / "models", "pumps", 1)
    copy(tmp_path / "models", "pumps", 2)
    return tmp_path / "models"


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def operate(service: Service, path: str, headers: dict[str, str]) -> httpx.Response:
    body = OPERATIONS[path]
    return ASK.post(f"{service.url}/{path}", content=b"" if body is None else json.dumps(body).encode(), headers=headers)


def test_operations_of_foreign_pages_are_refused(start: Start, folder: Path) -> None:
    service, before = start(at=folder), files(folder)
    for path in OPERATIONS:
        for headers in FOREIGN:
            done = operate(service, path, JSON | headers)
            assert done.status_code == (421 if "host" in headers else 403), (path, headers, done.text)
            assert done.json()["path"] in {"Host", "Origin", "Sec-Fetch-Site"}
    assert files(folder) == before


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_operations_take_json_only(start: Start, folder: Path, content_type: str) -> None:
    service, before = start(at=folder), files(folder)
    for path, body in OPERATIONS.items():
        refused = [{"content-type": content_type}, *([] if body is None else [{}])]
        for headers in refused:
            done = operate(service, path, headers)
            assert (done.status_code, done.json()["expected"]) == (415, "application/json")
    assert files(folder) == before
    for path in OPERATIONS:
        assert operate(service, path, {"content-type": "application/json; charset=utf-8"}).status_code == 200


def test_the_own_page_and_other_clients_operate(start: Start, folder: Path) -> None:
    service = start(at=folder)
    own = {"origin": service.url, "sec-fetch-site": "same-origin"}
    for headers in ({}, own, {"host": f"localhost:{service.port}", "origin": f"http://localhost:{service.port}"}):
        assert operate(service, "v1/models/pumps/promote", JSON | headers).status_code == 200
    assert operate(service, "v1/models/pumps/rollback", {}).status_code == 200


@pytest.mark.parametrize("headers", FOREIGN)
def test_rows_of_foreign_pages_are_not_scored(service: Service, headers: dict[str, str]) -> None:
    for path in ("v1/models/pumps/score", "v2/models/pumps/infer"):
        done = ASK.post(f"{service.url}/{path}", content=b"[{}]", headers=JSON | headers)
        assert done.status_code == (421 if "host" in headers else 403)


@pytest.mark.parametrize("path", ["", "livez", "metrics", "v1/models", "nowhere"])
def test_every_route_needs_a_known_host(service: Service, path: str) -> None:
    for host in ("attacker.example", "127.0.0.1.attacker.example", f"attacker.example:{service.port}"):
        done = ASK.get(f"{service.url}/{path}", headers={"host": host})
        assert (done.status_code, done.json()["found"]) == (421, host)
    for host in ("localhost", f"LOCALHOST:{service.port}", "[::1]:80", "127.0.0.1", "127.8.8.8"):
        assert ASK.get(f"{service.url}/{path}", headers={"host": host}).status_code != 421


def test_a_link_on_a_foreign_page_leads_to_the_live_page(service: Service) -> None:
    assert ASK.get(service.url, headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}).status_code == 200


def test_allowed_hosts(start: Start) -> None:
    service = start("--allowed-host", "pumps.example:8443", "--allowed-host", "*.svc.example", "--allowed-host", "10.1.1.1")
    rows = normal_rows(1).to_dicts()
    for host in ("pumps.example", "PUMPS.example:9", "a.b.svc.example", "10.1.1.1:80", "localhost"):
        assert service.post(rows, headers={"host": host}).status_code == 200
    for host in ("svc.example", "notpumps.example", "10.1.1.2"):
        assert service.post(rows, headers={"host": host}).status_code == 421
    assert start("--allowed-host", "*").post(rows, headers={"host": "any.example"}).status_code == 200


def test_every_address_is_known_to_a_service_that_listens_on_all(start: Start) -> None:
    service = start("--host", "0.0.0.0")  # noqa: S104 - as in a container
    assert ASK.get(f"{service.url}/readyz", headers={"host": "10.42.0.17:8080"}).status_code == 200
    assert ASK.get(f"{service.url}/readyz", headers={"host": "residuum.example"}).status_code == 421


def test_pages_of_allowed_origins_use_the_service(start: Start) -> None:
    service = start("--cors-origin", PAGE)
    rows = normal_rows(1).to_dicts()
    from_page = {"origin": PAGE, "sec-fetch-site": "cross-site"}
    done = service.post(rows, headers=from_page)
    assert (done.status_code, done.headers["access-control-allow-origin"]) == (200, PAGE)
    assert "Origin" in done.headers.get("vary", "")
    asked = from_page | {"access-control-request-method": "POST", "access-control-request-headers": "content-type,authorization"}
    allowed = ASK.options(f"{service.url}/v1/models/pumps/score", headers=asked)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, PAGE)
    assert "authorization" in allowed.headers["access-control-allow-headers"]
    other = service.post(rows, headers={"origin": "https://other.example"})
    assert other.status_code == 403
    assert "access-control-allow-origin" not in other.headers
    assert "access-control-allow-origin" not in service.post(rows).headers


@pytest.mark.parametrize("option", ["https://Dash.Example", "HTTPS://dash.example:443"])
def test_an_origin_may_be_given_in_other_spellings_than_browsers_send(start: Start, option: str) -> None:
    service = start("--cors-origin", option)
    page = {"origin": "https://dash.example"}
    asked = page | {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    for done in (ASK.options(f"{service.url}/v1/models/pumps/score", headers=asked), service.post([{}], headers=page)):
        assert (done.status_code, done.headers["access-control-allow-origin"]) == (200, page["origin"])


def test_no_origin_is_allowed_by_default(service: Service) -> None:
    asked = {"origin": PAGE, "access-control-request-method": "POST"}
    done = ASK.options(f"{service.url}/v1/models/pumps/score", headers=asked)
    assert done.status_code == 403
    assert "access-control-allow-origin" not in done.headers
