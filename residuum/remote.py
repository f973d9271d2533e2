"""Promotion and rollback at a running service."""

from __future__ import annotations

import os
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote

import httpx
import msgspec

from detector.errors import SettingError
from serving.connection_errors import reason
from serving.monitoring.agreement import Agreement

T = TypeVar("T")

TIMEOUT = 60.0  # seconds


class RemoteVersionChange(msgspec.Struct):
    """The version in use, and the one before."""

    version: int
    was: int | None


class RemoteShadowReport(msgspec.Struct):
    """The current version, its shadow, the share of requests that both score, and how far they agree."""

    version: int
    shadow: int | None
    share: float
    agreement: Agreement


class _ProblemDetails(msgspec.Struct):
    """The part of an error response that is shown (RFC 9457)."""

    detail: str = ""


class RemoteModel:
    """A model of a running service; the environment variable RESIDUUM_TOKEN holds the token, if one is needed."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._model_url = f"{url.rstrip('/')}/v1/models/{quote(name, safe='')}"
        token = os.environ.get("RESIDUUM_TOKEN", "")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    def shadow(self) -> RemoteShadowReport:
        """Return the current version's shadow and their agreement.

        Raises:
            SettingError: the service cannot be reached or answers with an error.
        """
        return self._request("GET", "shadow", RemoteShadowReport)

    def promote(self, version: int) -> RemoteVersionChange:
        """Make the service use a version.

        Raises:
            SettingError: as `shadow`.
        """
        return self._request("POST", "promote", RemoteVersionChange, {"version": version})

    def rollback(self) -> RemoteVersionChange:
        """Make the service use the version that it used before.

        Raises:
            SettingError: as `shadow`.
        """
        return self._request("POST", "rollback", RemoteVersionChange)

    def _request(self, method: str, action: str, kind: type[T], content: object = None) -> T:
        body = b"" if content is None else msgspec.json.encode(content)
        try:
            headers = self._headers | ({} if method == "GET" else {"content-type": "application/json"})
            with httpx.Client(headers=headers, timeout=TIMEOUT, trust_env=False) as client:
                response = client.request(method, f"{self._model_url}/{action}", content=body)
            if response.status_code != HTTPStatus.OK:
                detail = msgspec.json.decode(response.content, type=_ProblemDetails).detail
                raise SettingError(f"{self._url} answers {response.status_code}: {detail}")
            return msgspec.json.decode(response.content, type=kind)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise SettingError(f"{self._url} is not the URL of a service, such as http://localhost:8080") from error
        except httpx.HTTPError as error:
            raise SettingError(f"{self._url} does not answer: {reason(error)}") from error
        except msgspec.DecodeError as error:
            raise SettingError(f"{self._url} is not a service of this release: {error}") from error
