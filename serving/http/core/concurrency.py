"""Limits on concurrent work: requests being scored, and requests waiting to be scored; more are refused at once.

A request counts once its body is complete, and until its rows are scored, so that clients that send or read slowly take no place
from others. While bodies arrive, their bytes are limited: to what as many requests may hold as may be scored. A stream, which is
scored while it arrives, counts from its first row, and only among streams.

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

    def __init__(self, max_requests: int, max_queue: int, threads: int, max_body: int) -> None:
        self._max_requests = max_requests
        self._max_buffered = max_requests * max_body
        self._buffered = 0  # bytes of bodies that are incomplete
        self._max_queue = max_queue
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "scoring")
        self.active_requests = 0  # whose bodies are complete
        self.active_streams = 0
        self.pending_jobs = 0  # submitted to the threads and not done
        self._inline_requests = 0  # scored in this turn of the loop

    async def receive(self, request: Request, max_bytes: int) -> bytes:
        """Read a whole body.

        Raises:
            HttpProblem: it has more than `max_bytes` bytes, or the bodies that are arriving have too many together.
            ClientGone: the client disconnects before its end.
        """
        buffered = 0

        def count(size: int) -> None:
            nonlocal buffered
            buffered += size
            self._buffered += size
            if self._buffered > self._max_buffered:
                raise HttpProblem(
                    429, "bodies", f"the bodies that are arriving hold {self._buffered:,} bytes, which is the limit"
                )

        try:
            return await request.body(max_bytes, count)
        finally:
            self._buffered -= buffered

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a request with a complete body as active while the block runs.

        Raises:
            HttpProblem: too many are active.
        """
        if self.active_requests >= self._max_requests:
            raise self._no_place()
        self.active_requests += 1
        try:
            yield
        finally:
            self.active_requests -= 1

    @contextlib.contextmanager
    def admitted_stream(self) -> Iterator[None]:
        """Count a stream as active while the block runs.

        Raises:
            HttpProblem: too many are active.
        """
        if self.active_streams >= self._max_requests:
            raise HttpProblem(429, "streams", f"{self.active_streams} streams are being answered, which is the limit")
        self.active_streams += 1
        try:
            yield
        finally:
            self.active_streams -= 1

    def admit_inline(self) -> None:
        """Count a small body that is about to be scored in the event loop.

        Raises:
            HttpProblem: too many are active, or came before it in this turn of the loop.
        """
        if self.active_requests >= self._max_requests:
            raise self._no_place()
        if not self._inline_requests:
            asyncio.get_running_loop().call_soon(self._end_turn)
        elif self._inline_requests > self._max_queue:
            raise _queue_is_full(self._max_queue)
        self._inline_requests += 1

    def _no_place(self) -> HttpProblem:
        return HttpProblem(429, "requests", f"{self.active_requests} requests are being answered, which is the limit")

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
