"""Asking a running service to do what a verb would do on disk."""

from __future__ import annotations

import http.client
import os
from typing import TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from detector.errors import SettingError
from serving.monitoring.agreement import Agreement

T = TypeVar("T")

TIMEOUT = 60.0  # seconds


class Moved(msgspec.Struct):
    """Which version answers, and which did before."""

    version: int
    was: int | None


class Shadow(msgspec.Struct):
    """Which version is in the shadow of which, and how far they agree."""

    version: int
    shadow: int | None
    share: float
    agreement: Agreement


class _Fault(msgspec.Struct):
    """What a service says of a fault."""

    detail: str = ""


class Remote:
    """A model behind HTTP; its token stands in the environment: RESIDUUM_TOKEN."""

    def __init__(self, url: str, name: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingError(f"{url} is no address of a service, such as http://localhost:8080")
        connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = connection(parts.hostname, parts.port, timeout=TIMEOUT)
        self._url = url
        self._path = f"{parts.path.rstrip('/')}/v1/models/{quote(name, safe='')}"
        token = os.environ.get("RESIDUUM_TOKEN", "")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    def shadow(self) -> Shadow:
        """Give what is in the current version's shadow.

        Raises:
            SettingError: the service cannot be reached, or refuses.
        """
        return self._ask("GET", "shadow", Shadow)

    def promote(self, version: int) -> Moved:
        """Let the service answer by a version.

        Raises:
            SettingError: as `shadow`.
        """
        return self._ask("POST", "promote", Moved, {"version": version})

    def rollback(self) -> Moved:
        """Let the service answer by the version that answered before.

        Raises:
            SettingError: as `shadow`.
        """
        return self._ask("POST", "rollback", Moved)

    def _ask(self, method: str, what: str, kind: type[T], said: object = None) -> T:
        """Ask, and give the answer."""
        body = b"" if said is None else msgspec.json.encode(said)
        try:
            self._connection.request(method, f"{self._path}/{what}", body, self._headers)
            response = self._connection.getresponse()
            found = response.read()
            if response.status != http.client.OK:
                detail = msgspec.json.decode(found, type=_Fault).detail
                raise SettingError(f"{self._url} answers {response.status}: {detail}")
            return msgspec.json.decode(found, type=kind)
        except (OSError, http.client.HTTPException) as error:
            raise SettingError(f"{self._url} does not answer: {str(error) or type(error).__name__}") from error
        except msgspec.DecodeError as error:
            raise SettingError(f"{self._url} is no service of this release: {error}") from error
        finally:
            self._connection.close()
