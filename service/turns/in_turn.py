"""Work in threads: a bounded number of them, in the order of arrival, and none for a client that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.requests import Request

from service.clock import Deadline
from service.turns.arrival import arrival_of

T = TypeVar("T")


class LateError(Exception):
    """The request's own time-out was over before its turn came."""

    def __init__(self) -> None:
        super().__init__("too many requests: this one's time was over before its turn came")


class RequestTurns:
    """So many threads, for one kind of request. One kind never waits for another."""

    def __init__(self, threads: int) -> None:
        # The threads' own limit is never waited for: a task that is cut off in there would leave its thread
        # running and give its place away.
        self._turns = asyncio.Semaphore(threads)
        self._limiter = CapacityLimiter(threads)

    async def run(self, request: Request, work: Callable[[], T], deadline: Deadline | None = None) -> T:
        """What `work` returns. Raises LateError, and ClientDisconnect for a client that is gone."""
        arrival = arrival_of(request.scope)
        with arrival.waiting():
            try:
                async with asyncio.timeout((deadline or arrival.deadline).remaining()):
                    await self._turns.acquire()
            except TimeoutError:
                raise LateError from None
        try:
            return await run_sync(work, limiter=self._limiter)
        finally:
            self._turns.release()
