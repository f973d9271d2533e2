"""Authentication by bearer tokens, from a file that holds only their SHA-256.

# sha256 of the token                                              roles          comment
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

Role = Literal["public", "score", "operate", "metrics"]  # what a route requires

TOKEN_ROLES = frozenset({"score", "operate", "metrics"})
POLL_INTERVAL = 1.0  # seconds
_LINE = re.compile(r"([0-9a-f]{64})\s+([a-z,]+)(\s.*)?")


class TokenAuthentication:
    """The tokens of a file, which is read again when it changes."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            SettingError: it cannot be read, or a line has the wrong format.
        """
        self._path = path
        self._stamp = _stamp(path)
        self._roles = _read(path)
        self._polled = time.monotonic()

    def require(self, request: RequestHead, role: Role) -> None:
        """Raise unless the token of a request has the role.

        Raises:
            HttpProblem: the request has no token, or an unknown one, or the token lacks the role.
        """
        self._poll()
        scheme, _, token = request.headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            raise HttpProblem(401, "token", "a token is required: Authorization: Bearer ...")
        roles = self._roles_of(token.strip())
        if roles is None:
            raise HttpProblem(401, "token", "the token is unknown")
        if role not in roles:
            raise HttpProblem(403, "role", f"the token lacks the role {role!r}", expected=role)

    def _roles_of(self, token: bytes) -> frozenset[str] | None:
        """Return the roles of a token, in a time that does not depend on the token."""
        digest = hashlib.sha256(token).hexdigest()
        found = None
        for known, roles in self._roles.items():
            if hmac.compare_digest(known, digest):
                found = roles
        return found

    def _poll(self) -> None:
        """Read the file again if it has changed; keep the tokens if it cannot be read."""
        now = time.monotonic()
        if now - self._polled < POLL_INTERVAL:
            return
        self._polled = now
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._stamp, self._roles = stamp, _read(self._path)
                log().info("token file reloaded", tokens=len(self._roles))
        except SettingError as error:
            log().error("token file not reloaded", error=str(error), tokens=len(self._roles))


def authorise(tokens: TokenAuthentication | None, request: RequestHead, role: Role | None) -> None:
    """Raise unless a request may use a route that requires `role`; nobody may use a route without a role.

    Raises:
        HttpProblem: the route has no role, or the token of the request does not suffice.
    """
    if role is None:
        raise HttpProblem(403, "role", "no role is defined for this route, so every request is refused")
    if tokens is not None and role != "public":
        tokens.require(request, role)


def _stamp(path: Path) -> tuple[int, int, int]:
    """Return a value that changes when the file does."""
    try:
        status = path.stat()
    except OSError as error:
        raise SettingError(f"cannot read {path}: {error.strerror}") from error
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path) -> dict[str, frozenset[str]]:
    """Return the roles of each token, by its SHA-256."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"cannot read {path}: {error}") from error
    tokens = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if not match or not (roles := frozenset(match[2].split(","))) <= TOKEN_ROLES:
            raise SettingError(
                f"{path}, line {number}: expected a SHA-256 and roles, such as <64 digits> score,metrics; roles are "
                f"{', '.join(sorted(TOKEN_ROLES))}"
            )
        tokens[match[1]] = roles
    return tokens
