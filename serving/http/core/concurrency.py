"""How much is done at once: so many requests, so many waiting for their turn; whatever is more is refused at once.

What comes while something is judged waits in the system's buffers, and is all there at the loop's next turn. So a place in
a turn is a place in the queue, and a turn that is too long ends in refusals, which are quick: the next one comes soon.
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

MAX_INLINE_BYTES = 64 * 1024  # bytes; judging as much takes about a millisecond, less than it is worth to change threads for


class ConcurrencyLimiter:
    """Lets requests in."""

    def __init__(self, max_requests: int, max_queue: int, threads: int) -> None:
        self._most = max_requests
        self._longest = max_queue
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "scoring")
        self.active_requests = 0
        self.pending_jobs = 0  # given to the threads and not done
        self._in_turn = 0  # judged in this turn of the loop

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a request while it is answered.

        Raises:
            HttpProblem: there are too many.
        """
        if not self.try_acquire():
            raise HttpProblem(
                429, "requests", f"{self.active_requests} requests are being answered, which is as many as there may be"
            )
        try:
            yield
        finally:
            self.release()

    def try_acquire(self) -> bool:
        """Count a request that is to be answered, if there is room for it."""
        if self.active_requests >= self._most:
            return False
        self.active_requests += 1
        return True

    def release(self) -> None:
        """Count a request that entered out."""
        self.active_requests -= 1

    def admit_inline(self) -> None:
        """Count a small body that is to be judged at once.

        Raises:
            HttpProblem: too many were before it in this turn.
        """
        if not self._in_turn:
            asyncio.get_running_loop().call_soon(self._end_turn)
        elif self._in_turn > self._longest:
            raise self._busy(self._longest)
        self._in_turn += 1

    def _end_turn(self) -> None:
        self._in_turn = 0

    @staticmethod
    def _busy(waiting: int) -> HttpProblem:
        return HttpProblem(429, "queue", f"{waiting} requests wait to be judged, which is as many as may")

    async def run(self, request: Request, size: int, work: Callable[[], T]) -> T:
        """Do the work of a request of so many bytes: at once if it is little, else in a thread.

        Raises:
            HttpProblem: too many wait already.
            ClientGone: nobody waits for the result any more; work that was not begun is not done.
        """
        if size <= MAX_INLINE_BYTES:
            return work()
        waiting = self.pending_jobs - self._threads
        if waiting >= self._longest:
            raise self._busy(waiting)
        job = self._submit(work)
        leaving = asyncio.ensure_future(request.wait_for_disconnect())
        leaving.add_done_callback(lambda _: job.cancel())
        try:
            return await job
        except asyncio.CancelledError:
            if leaving.done():
                raise ClientGone from None
            raise
        finally:
            leaving.cancel()

    async def run_step(self, size: int, work: Callable[[], T]) -> T:
        """Do a step of a stream, which waits for its turn: at once if it is little, else in a thread."""
        return work() if size <= MAX_INLINE_BYTES else await self._submit(work)

    async def run_in_thread(self, work: Callable[[], T]) -> T:
        """Do something slow in a thread."""
        return await self._submit(work)

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Give work to the threads."""
        self.pending_jobs += 1
        job = asyncio.get_running_loop().run_in_executor(self._pool, work)
        job.add_done_callback(self._done)
        return job

    def _done(self, job: asyncio.Future[T]) -> None:
        self.pending_jobs -= 1
        if not job.cancelled():
            job.exception()  # looked at, whether or not anybody waits for it
