"""Why a service cannot be reached, in words: what the clients of `score --url` and `promote --url` show."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

_NUMBER = re.compile(r"\[[A-Za-z0-9_ ,:-]+\] ?")  # as of [Errno 111]


def reason(error: BaseException) -> str:
    """Return the reason of a connection's error, with what to do about it."""
    causes = list(_causes(error))
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes) or "Connection refused" in str(error):
        return "the connection was refused; check that the service runs, and its address and port"
    if any(isinstance(cause, socket.gaierror) for cause in causes) or "[Errno -" in str(error):
        return "no such host; check the name in the address"
    if "timed out" in str(error) or "Timeout" in type(error).__name__:
        return "it timed out; check that the service runs, and that a firewall lets the connection pass"
    return _NUMBER.sub("", str(error)) or type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and those from which it was raised."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
