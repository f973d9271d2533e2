"""Tasks that run periodically beside the requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from serving.log import error_fields, log


@contextlib.asynccontextmanager
async def repeated(interval: float, work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run `work` every `interval` seconds while the block runs."""
    task = asyncio.create_task(_repeat(interval, work))
    try:
        yield
    finally:
        task.cancel()


async def _repeat(interval: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(interval)
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - one failure must not end the timer
            log().error("internal error", **error_fields(error))
