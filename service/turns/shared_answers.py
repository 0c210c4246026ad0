"""Answers that are worked out once for all who ask meanwhile, and sent to each from the same bytes.

Of a thousand that ask at once one has a thread, the others only wait for it, each no longer than its own
deadline. An answer is shared where its own deadline is not after that of who waits for it, and has at least
half of his time left: a hasty request must not make a patient one incomplete. Beside another one at work an
answer gets a time of a scale, up to three tenths less than was asked for: else many, each a moment hastier
than the one before, would all be worked for. So there are at most a few answers at work for each key and step
of the scale, whatever deadlines are asked for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from math import floor, log2
from typing import Final, NamedTuple

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.requests import Request

from service.clock import Deadline, monotonic
from service.turns.arrival import arrival_of
from service.turns.in_turn import LateError

log = logging.getLogger(__name__)

_THREADS: Final = 32  # of all keys; one for each format, coding and doubling of the time-out would be 36
_STEPS: Final = 2  # of the scale of times, for each doubling
_LEAST: Final = 0.125  # seconds: its begin
_GRACE: Final = 0.4  # seconds after the deadline, for an answer that was complete at it and has to be drawn


class AnswerError(Exception):
    """The answer could not be made; logged once, however many wait for it."""


class _Answer(NamedTuple):
    task: asyncio.Task[bytes]
    deadline: Deadline

    def suits(self, deadline: Deadline) -> bool:
        return self.deadline.at <= deadline.at and 2 * self.deadline.remaining() >= deadline.remaining()


class SharedAnswers:
    """For one event loop."""

    def __init__(self) -> None:
        self._limiter = CapacityLimiter(_THREADS)
        self._answers: dict[Hashable, list[_Answer]] = {}

    async def get(
        self, request: Request, key: Hashable, deadline: Deadline, make: Callable[[Deadline], bytes]
    ) -> bytes:
        """What `make` returns for this key by its deadline, of this call or of another one.

        Raises LateError, AnswerError, and ClientDisconnect for a client that is gone."""
        answers = self._answers.setdefault(key, [])
        with arrival_of(request.scope).waiting():
            answer = next((answer for answer in answers if answer.suits(deadline)), None)
            if answer is None:
                own = _on_the_scale(deadline) if answers else deadline
                answer = _Answer(asyncio.create_task(self._work(own, make)), own)
                answers.append(answer)
                answer.task.add_done_callback(lambda task: self._end(answers, task))
            try:
                async with asyncio.timeout(deadline.remaining() + _GRACE):
                    return await asyncio.shield(answer.task)
            except TimeoutError:
                raise LateError from None

    async def _work(self, deadline: Deadline, make: Callable[[Deadline], bytes]) -> bytes:
        def in_time() -> bytes:
            if monotonic() > deadline.at + _GRACE:
                raise LateError
            return make(deadline)

        try:
            return await run_sync(in_time, limiter=self._limiter, abandon_on_cancel=True)
        except LateError:
            raise
        except Exception:
            log.exception("answer failed")
            raise AnswerError from None

    def _end(self, answers: list[_Answer], task: asyncio.Task[bytes]) -> None:
        answers[:] = [answer for answer in answers if answer.task is not task]
        if not task.cancelled():
            task.exception()  # else asyncio logs it, if nobody waits any more


def _on_the_scale(deadline: Deadline) -> Deadline:
    """Not after this one. Raises LateError."""
    remaining = deadline.remaining()
    if remaining < _LEAST:
        raise LateError
    return Deadline.after(2.0 ** (floor(_STEPS * log2(remaining)) / _STEPS))
