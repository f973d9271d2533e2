"""Errors of bundles and of the repository, as problems that do not reveal where the repository is."""

from __future__ import annotations

from pathlib import Path

from detector.errors import BundleMissing, OutputError, ResiduumError
from serving.http.core.problem_details import HttpProblem


def bundle_problem(error: ResiduumError, folder: Path) -> HttpProblem:
    """Convert an error about the versions in a folder."""
    detail = str(error).replace(str(folder.absolute()), folder.name).replace(str(folder), folder.name)
    match error:
        case BundleMissing():
            return HttpProblem(404, "version", detail)
        case OutputError():
            return HttpProblem(503, "disk", detail)
        case _:
            return HttpProblem(409, "refused", detail)
