"""Where a request may come from: which names of this service it may use, and from which web pages browsers may send it.

A browser sends requests of any page that is open in it to any address that it can reach, with the page as `Origin`, and says how
the two relate in `Sec-Fetch-Site`. It does not let the page read the response, unless CORS allows that; but an operation would be
done by then. And a page whose own name was made to resolve to this service counts as a page of it: that shows in `Host`.
Other clients send neither of the first two, and the name or address that they were given as `Host`.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp

from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import RequestHead

ANY = "*"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # which change nothing
OWN_PAGES = frozenset({b"same-origin", b"none"})  # of Sec-Fetch-Site; "none": the user, by an address or a bookmark
DEFAULT_PORTS = {"http": 80, "https": 443}


class AllowedHosts:
    """The names and addresses by which clients may call the service."""

    def __init__(self, bound: str, further: Sequence[str] = ()) -> None:
        """Allow loopback names, the address that the service is bound to, and further names; `*.example`: all names below."""
        names = [_name(host) for host in (bound, *further)]
        self._all = ANY in names
        self._names = {"localhost", *names}
        self._suffixes = tuple(name.removeprefix(ANY) for name in names if name.startswith("*."))
        address = _address(bound)
        self._any_address = address is not None and address.is_unspecified  # as 0.0.0.0: every address of this machine
        if self._any_address:
            self._names.add(_name(socket.gethostname()))
        self.allow = lru_cache(maxsize=256)(self._allow)

    def _allow(self, host: bytes) -> bool:
        """Return whether a value of the header `Host` may be used."""
        name = _name(host.decode("latin-1"))
        if self._all or name in self._names or name.endswith(self._suffixes):
            return True
        address = _address(name)  # no page can be read under another page's address, as it can under a name
        return address is not None and (address.is_loopback or self._any_address)


class OriginPolicy:
    """Decides which requests are refused because of where they come from."""

    def __init__(self, hosts: AllowedHosts, cors_origins: Sequence[str]) -> None:
        """Allow these hosts, and requests of pages of these origins."""
        self._hosts = hosts
        self._cors_origins = frozenset(map(serialised, cors_origins))

    def is_plain(self, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether a request needs no further check: no browser has sent it, and it uses a name of this service."""
        is_browser = b"origin" in headers or b"sec-fetch-site" in headers
        return not is_browser and self._hosts.allow(headers.get(b"host", b"localhost"))

    def require(self, request: RequestHead) -> None:
        """Raise unless a request uses a name of this service, and comes from its own pages, allowed ones, or no page.

        Raises:
            HttpProblem: the request is refused.
        """
        headers = request.headers
        host, origin, site = headers.get(b"host"), headers.get(b"origin"), headers.get(b"sec-fetch-site")
        if host is not None and not self._hosts.allow(host):
            detail = "the service does not accept the name in the header Host; add it with --allowed-host"
            raise HttpProblem(421, "host", detail, path="Host", found=host.decode("latin-1")[:80])
        if origin is not None:
            text = origin.decode("latin-1").lower()
            if ANY in self._cors_origins or text in self._cors_origins:
                return
            if not _is_same_origin(text, (host or b"").decode("latin-1")):
                detail = "the request comes from a web page of another origin; allow its origin with --cors-origin"
                raise HttpProblem(403, "origin", detail, path="Origin", found=text[:80])
        if site is not None and site not in OWN_PAGES and request.method not in SAFE_METHODS:
            detail = "the request comes from a web page of another site"
            raise HttpProblem(403, "origin", detail, path="Sec-Fetch-Site", found=site.decode("latin-1")[:80])


def with_cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Return an app that lets pages of these origins send requests and read responses."""
    from starlette.middleware.cors import CORSMiddleware  # which few services need

    return CORSMiddleware(
        app,
        allow_origins=[*map(serialised, origins)],
        allow_methods=["GET", "HEAD", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=["*"],
        allow_private_network=True,
    )


def serialised(origin: str) -> str:
    """Return an origin as browsers send it: in lower case, without the default port."""
    scheme, _, host = origin.lower().partition("://")
    return origin.lower().removesuffix(f":{DEFAULT_PORTS[scheme]}") if host and scheme in DEFAULT_PORTS else origin.lower()


def _name(host: str) -> str:
    """Return a host without its port, in lower case, without brackets and without a final dot."""
    text = host.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    name, colon, port = text.rpartition(":")
    is_port = colon and port.isdigit() and ":" not in name
    return (name if is_port else text).removesuffix(".")


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Return a host as an address; None if it is a name."""
    try:
        return ip_address(_name(host))
    except ValueError:
        return None


def _is_same_origin(origin: str, host: str) -> bool:
    """Return whether an origin is this service; a proxy may add TLS, so the scheme does not count."""
    with contextlib.suppress(ValueError, KeyError):  # of what is no origin
        own = urlsplit(origin)
        other, default = urlsplit(f"{own.scheme}://{host}"), DEFAULT_PORTS[own.scheme]
        return own.hostname == other.hostname and (own.port or default) == (other.port or default)
    return False
