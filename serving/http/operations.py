"""What those may do who operate the service: promote a version and roll back, move the threshold, say what alarms were worth.

All of it is written to the repository on disk, which every worker follows; nothing is changed in a worker alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from detector import pin
from detector.errors import BundleMissing, OutputError, ResiduumError
from serving.agreement import Agreement
from serving.http.models import Models
from serving.http.problem import Problem
from serving.http.reply import JSON
from serving.http.trace import request_id
from serving.log import log

T = TypeVar("T")

MOST = 64 * 1024  # bytes of a body


class Promotion(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be promoted."""

    version: int


class Operations:
    """The routes of those who operate the service."""

    def __init__(self, models: Models, shadow_share: float) -> None:
        self._models = models
        self._share = shadow_share

    async def shadow(self, request: Request) -> Response:
        """Say how far the current version and the one in its shadow agree."""
        name = request.path_params["name"]
        current = self._models.current(name)
        shadow = current.shadow
        return _json(
            {
                "model": name,
                "version": current.version,
                "shadow": shadow.model.version if shadow else None,
                "share": self._share,
                "skipped": shadow.skipped if shadow else 0,
                "agreement": shadow.found() if shadow else Agreement(),
            }
        )

    async def promote(self, request: Request) -> Response:
        """Answer by a version from here on."""
        wanted = await _body(request, Promotion)
        return await self._move(request, "promoted", lambda place: pin.promote(place, wanted.version))

    async def rollback(self, request: Request) -> Response:
        """Answer by the version that answered before."""
        return await self._move(request, "rolled back", pin.rollback)

    async def _move(self, request: Request, done: str, move: Callable[[Path], pin.Moved]) -> Response:
        """Move the pin, and answer once this worker has followed."""
        name = request.path_params["name"]
        place = self._models.place(name)
        moved = await _on_disk(place, lambda: move(place))
        model = await _on_disk(place, lambda: self._models.reload(name))
        by = request_id(dict(request.headers.raw))
        log().info(done, model=name, version=moved.version, was=moved.was, request_id=by)
        return _json({"model": name, "version": model.version, "was": moved.was})


async def _on_disk(place: Path, work: Callable[[], T]) -> T:
    """Do something slow in a thread."""
    try:
        return await asyncio.to_thread(work)
    except ResiduumError as error:
        raise _problem(error, place) from error


def _problem(error: ResiduumError, place: Path) -> Problem:
    """Say what is wrong, and not where the repository lies."""
    said = str(error).replace(str(place.absolute()), place.name).replace(str(place), place.name)
    match error:
        case BundleMissing():
            return Problem(404, "version", said)
        case OutputError():
            return Problem(503, "disk", said)
        case _:
            return Problem(409, "refused", said)


async def _body(request: Request, kind: type[T]) -> T:
    """Read a body."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST:
            raise Problem(413, "body", f"the body has more than {MOST:,} bytes", expected=f"at most {MOST:,} bytes")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `")
        raise Problem(422, "shape", said, path=path.rstrip("`") or "$") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "json", f"the body is not JSON: {error}") from error


def _json(said: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(said), media_type=JSON.decode())
