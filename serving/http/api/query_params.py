"""Query parameters of scoring routes: `?reasons=3&only=anomalies`, and of an image `?heatmap=1`."""

from __future__ import annotations

from urllib.parse import parse_qsl

from serving.codecs.base import CodecOptions
from serving.http.core.problem_details import HttpProblem
from serving.limits import Limits

MAX_REASONS = 100
REASONS = frozenset(map(str, range(MAX_REASONS + 1)))
EXPECTED = {"reasons": f"a number from 0 to {MAX_REASONS}", "only": "anomalies", "heatmap": "1, for an image"}


def codec_options(query: bytes, content_type: str, limits: Limits) -> CodecOptions:
    """Parse the query of a request whose body has a content type.

    Raises:
        HttpProblem: a parameter is unknown or has an invalid value.
    """
    parameters = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)) if query else {}
    for name, value in parameters.items():
        is_valid = {
            "reasons": value in REASONS,
            "only": value == "anomalies",
            "heatmap": value == "1" and content_type.startswith("image/"),
        }
        if not is_valid.get(name):
            raise invalid_parameter(name, value, EXPECTED.get(name, "reasons or only"))
    return CodecOptions(
        limits=limits,
        reasons=int(parameters.get("reasons", "3")),
        only_anomalies="only" in parameters,
        heatmap="heatmap" in parameters,
    )


def invalid_parameter(name: str, value: str, expected: str) -> HttpProblem:
    """Return the problem of a parameter that is not understood."""
    path = f"?{name[:40]}"
    return HttpProblem(422, "query", f"{path} is not understood", path=path, found=value[:80], expected=expected)
