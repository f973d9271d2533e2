"""Limits on concurrent work: requests being answered, and requests waiting to be scored; more are refused at once.

Requests that arrive while the event loop scores a small body wait in the system's buffers until the next turn of the loop,
and then arrive together. So the requests of one turn are the queue of the inline path, and `max_queue` limits them too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from serving.http.core.problem_details import ClientGone, HttpProblem
from serving.http.core.request import Request

T = TypeVar("T")

MAX_INLINE_BYTES = 64 * 1024  # scoring so much takes about a millisecond: less than switching threads is worth


class ConcurrencyLimiter:
    """Limits concurrent requests, and runs large ones in threads."""

    def __init__(self, max_requests: int, max_queue: int, threads: int) -> None:
        self._max_requests = max_requests
        self._max_queue = max_queue
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "scoring")
        self.active_requests = 0
        self.pending_jobs = 0  # submitted to the threads and not done
        self._inline_requests = 0  # scored in this turn of the loop

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a request as active while the block runs.

        Raises:
            HttpProblem: too many are active.
        """
        if not self.try_acquire():
            raise HttpProblem(429, "requests", f"{self.active_requests} requests are being answered, which is the limit")
        try:
            yield
        finally:
            self.release()

    def try_acquire(self) -> bool:
        """Count a request as active, and return whether there was room for it; if so, call `release` later."""
        if self.active_requests >= self._max_requests:
            return False
        self.active_requests += 1
        return True

    def release(self) -> None:
        """Count a request as finished."""
        self.active_requests -= 1

    def admit_inline(self) -> None:
        """Count a small body that is about to be scored in the event loop.

        Raises:
            HttpProblem: too many came before it in this turn of the loop.
        """
        if not self._inline_requests:
            asyncio.get_running_loop().call_soon(self._end_turn)
        elif self._inline_requests > self._max_queue:
            raise _queue_is_full(self._max_queue)
        self._inline_requests += 1

    def _end_turn(self) -> None:
        self._inline_requests = 0

    async def run(self, request: Request, size: int, work: Callable[[], T]) -> T:
        """Do the work of a request with `size` bytes: inline if it is small, else in a thread.

        Raises:
            HttpProblem: too many are waiting.
            ClientGone: the client disconnected; work that has not begun is cancelled.
        """
        if size <= MAX_INLINE_BYTES:
            return work()
        waiting = self.pending_jobs - self._threads
        if waiting >= self._max_queue:
            raise _queue_is_full(waiting)
        job = self._submit(work)
        disconnect = asyncio.ensure_future(request.wait_for_disconnect())
        disconnect.add_done_callback(lambda _: job.cancel())
        try:
            return await job
        except asyncio.CancelledError:
            if disconnect.done():
                raise ClientGone from None
            raise
        finally:
            disconnect.cancel()

    async def run_step(self, size: int, work: Callable[[], T]) -> T:
        """Do one step of a stream: inline if it is small, else in a thread, however many wait."""
        return work() if size <= MAX_INLINE_BYTES else await self._submit(work)

    async def run_in_thread(self, work: Callable[[], T]) -> T:
        """Do slow work in a thread."""
        return await self._submit(work)

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        self.pending_jobs += 1
        job = asyncio.get_running_loop().run_in_executor(self._pool, work)
        job.add_done_callback(self._done)
        return job

    def _done(self, job: asyncio.Future[T]) -> None:
        self.pending_jobs -= 1
        if not job.cancelled():
            job.exception()  # marks it as retrieved, whether or not somebody awaits it


def _queue_is_full(waiting: int) -> HttpProblem:
    return HttpProblem(429, "queue", f"{waiting} requests are waiting to be scored, which is the limit")
