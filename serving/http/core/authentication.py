"""Who may ask for what: bearer tokens in a file, of which only SHA-256 is kept.

# sha256 of the token                                              roles          whose it is
9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08   score,metrics  the dashboard
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from pathlib import Path
from typing import Literal

from detector.errors import SettingError
from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import RequestHead
from serving.log import log

Role = Literal["score", "operate", "metrics"]

ROLES = frozenset({"score", "operate", "metrics"})
OPEN = frozenset(
    {
        "/",
        "/page.css",
        "/page.js",
        "/livez",
        "/readyz",
        "/healthz",
        "/openapi.json",
        "/docs",
        "/v2/health/live",
        "/v2/health/ready",
    }
)
OPERATING = frozenset({"promote", "rollback", "thresholds", "feedback"})  # of a name under /v1/models
LOOK_EVERY = 1.0  # seconds
_LINE = re.compile(r"([0-9a-f]{64})\s+([a-z,]+)(\s.*)?")


class TokenAuthentication:
    """The tokens of a file, read again when it changes."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            SettingError: it cannot be read, or a line of it is no token.
        """
        self._path = path
        self._stamp = _stamp(path)
        self._roles = _read(path)
        self._looked = time.monotonic()

    def check(self, request: RequestHead) -> None:
        """Let a request pass whose token has the role that its path needs.

        Raises:
            HttpProblem: it has none, or none that is known, or not that role.
        """
        if request.path in OPEN:
            return
        self._look()
        needed = role_for(request.method, request.path)
        kind, _, token = request.headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() != b"bearer":
            raise HttpProblem(401, "token", "this needs a token: Authorization: Bearer ...")
        roles = self._roles_of(token.strip())
        if roles is None:
            raise HttpProblem(401, "token", "the token is not known")
        if needed not in roles:
            raise HttpProblem(403, "role", f"the token has not the role {needed!r}", expected=needed)

    def _roles_of(self, token: bytes) -> frozenset[str] | None:
        """Give a token's roles; takes as long whichever it is."""
        digest = hashlib.sha256(token).hexdigest()
        found = None
        for known, roles in self._roles.items():
            if hmac.compare_digest(known, digest):
                found = roles
        return found

    def _look(self) -> None:
        """Read the file again if it has changed; one that cannot be read changes nothing."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._stamp, self._roles = stamp, _read(self._path)
                log().info("tokens", read=len(self._roles))
        except SettingError as error:
            log().error("tokens", error=str(error), kept=len(self._roles))


def role_for(method: str, path: str) -> Role:
    """Give the role that a route needs."""
    match path.split("/"):
        case ["", "metrics"]:
            return "metrics"
        case ["", "v1", "events"]:  # it tells of rows that others sent
            return "operate"
        case ["", "v2", "repository", "models", *_] if method == "POST":
            return "operate"
        case ["", "v1", "models", _, what] if method == "POST" and what in OPERATING:  # and no session whose key is such a word
            return "operate"
    return "score"


def _stamp(path: Path) -> tuple[int, int, int]:
    """Give what changes when a file does."""
    try:
        status = path.stat()
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from error
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path) -> dict[str, frozenset[str]]:
    """Read tokens and their roles."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be read: {error}") from error
    tokens = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if not found or not (roles := frozenset(found[2].split(","))) <= ROLES:
            raise SettingError(
                f"{path}, line {number}: expected a SHA-256 and roles, such as <64 digits> score,metrics; roles are "
                f"{', '.join(sorted(ROLES))}"
            )
        tokens[found[1]] = roles
    return tokens
