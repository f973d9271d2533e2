"""Which routes are hot: those on which rows are scored, for every name and version."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple
from urllib.parse import unquote


class ScoringTarget(NamedTuple):
    """A hot route, and what of it a path names."""

    route: Literal["score", "infer"]
    name: str
    version: str | None


class ScoringUrl(NamedTuple):
    """The address of a hot route, taken apart."""

    path: str
    query: bytes
    target: ScoringTarget


def scoring_target(path: str) -> ScoringTarget | None:
    """Read a path; None if no rows are scored there."""
    match path.split("/"):
        case ["", "v1", "models", name, "score"]:
            return ScoringTarget("score", name, None)
        case ["", "v1", "models", name, "versions", version, "score"]:
            return ScoringTarget("score", name, version)
        case ["", "v2", "models", name, "infer"]:
            return ScoringTarget("infer", name, None)
        case ["", "v2", "models", name, "versions", version, "infer"]:
            return ScoringTarget("infer", name, version)
    return None


@lru_cache(maxsize=1024)
def parse_scoring_url(url: bytes) -> ScoringUrl | None:
    """Take an address apart as a request line has it; None if no rows are scored there."""
    raw, _, query = url.partition(b"?")
    if not raw.isascii() or b"#" in url:
        return None
    path = unquote(raw.decode())
    target = scoring_target(path)
    return ScoringUrl(path, query, target) if target else None
