"""What a client wants to see: `?reasons=3&only=anomalies`, and of an image `?heatmap=1`."""

from __future__ import annotations

from urllib.parse import parse_qsl

import msgspec

from serving.http.core.problem_details import HttpProblem

MOST_REASONS = 100
REASONS = frozenset(map(str, range(MOST_REASONS + 1)))
EXPECTED = {"reasons": f"a number from 0 to {MOST_REASONS}", "only": "anomalies", "heatmap": "1, for an image"}


class Wishes(msgspec.Struct, frozen=True):
    """So many reasons for each anomaly, and whether anomalies alone; or a picture of where the error is instead of verdicts."""

    reasons: int = 3
    only_anomalies: bool = False
    heatmap: bool = False


USUAL = Wishes()


def wishes_of(query: bytes, form: str) -> Wishes:
    """Read the parameters behind a question mark, of a body in a form.

    Raises:
        HttpProblem: one is unknown, or cannot be meant.
    """
    return _read(dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)), form) if query else USUAL


def _read(query: dict[str, str], form: str) -> Wishes:
    """Read the parameters."""
    for name, value in query.items():
        good = {
            "reasons": value in REASONS,
            "only": value == "anomalies",
            "heatmap": value == "1" and form.startswith("image/"),
        }
        if not good.get(name):
            raise unknown(name, value, EXPECTED.get(name, "reasons or only"))
    return Wishes(int(query.get("reasons", "3")), "only" in query, "heatmap" in query)


def unknown(name: str, value: str, expected: str) -> HttpProblem:
    """Refuse a parameter."""
    path = f"?{name[:40]}"
    return HttpProblem(422, "query", f"{path} is not understood", path=path, found=value[:80], expected=expected)
