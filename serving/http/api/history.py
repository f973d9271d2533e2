"""The history of a model over hours and days, for the live page and for programs."""

from __future__ import annotations

import time
from typing import Annotated, Literal
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from serving.http.api.query_params import invalid_parameter
from serving.http.core.problem_details import HttpProblem
from serving.http.core.request import Request
from serving.http.core.response import Response, json_response
from serving.http.models.aggregator import Aggregator
from serving.http.models.history import KEPT_DAYS, History, HistoryError, HistoryPoint
from serving.http.models.registry import ModelRegistry

MAX_HOURS = 24 * KEPT_DAYS
DEFAULT_HOURS = 24
HOURS = frozenset(map(str, range(1, MAX_HOURS + 1)))
MAX_POINTS = 400
STEPS = (60, 300, 900, 1800, 3600, 7200)  # seconds


class ModelHistory(msgspec.Struct, frozen=True):
    """The totals of a model's rows over time."""

    model: str
    since: Annotated[int, Meta(description="The start, in seconds since 1970.")]
    step: Annotated[int, Meta(description="The seconds that a point stands for.")]
    kept: Annotated[Literal["file", "memory"], Meta(description="memory is lost when the service is restarted.")]
    problem: Annotated[str, Meta(description="Why the file cannot be used; empty if it can.")]
    points: Annotated[list[HistoryPoint], Meta(description="Stretches of time that had rows.")]


class HistoryApi:
    """The route of the history."""

    def __init__(self, models: ModelRegistry, aggregator: Aggregator, history: History) -> None:
        self._models = models
        self._aggregator = aggregator
        self._history = history

    async def points(self, request: Request) -> Response:
        """Return the history of a model.

        Raises:
            HttpProblem: the model is unknown, the query is invalid, or the database cannot be read.
        """
        name = self._models.current(request.path_params["name"]).name
        hours = _hours(request.query)
        step = next(step for step in STEPS if 3600 * hours <= MAX_POINTS * step)
        since = (int(time.time()) - 3600 * hours) // step * step
        self._aggregator.update()
        try:
            points = await self._history.points(name, since, step)
        except HistoryError as error:
            raise HttpProblem(503, "history", str(error)) from error
        return json_response(ModelHistory(name, since, step, self._history.kept, self._history.problem, points))


def _hours(query: bytes) -> int:
    """Return how many hours are asked for.

    Raises:
        HttpProblem: a parameter is unknown or has an invalid value.
    """
    parameters = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    for name, value in parameters.items():
        if name != "hours" or value not in HOURS:
            raise invalid_parameter(name, value, f"hours, a whole number from 1 to {MAX_HOURS}")
    return int(parameters.get("hours", DEFAULT_HOURS))
