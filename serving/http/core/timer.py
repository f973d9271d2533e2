"""Something that is done again and again beside the requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from serving.log import error_fields, log


@contextlib.asynccontextmanager
async def repeated(every: float, work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Do something every so many seconds, as long as the block lasts."""
    task = asyncio.create_task(_repeat(every, work))
    try:
        yield
    finally:
        task.cancel()


async def _repeat(every: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(every)
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
            log().error("fault", **error_fields(error))
