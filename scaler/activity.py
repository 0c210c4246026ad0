"""What the workers of a target did in the last minutes, from the totals of its samples. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from scaler.model import QueueSample

ACTIVITY_SECONDS: Final = 300.0
"""Seconds that the activity covers, once samples are that old."""
_STEP: Final = 15.0  # seconds between two samples that are kept
_MIN_SECONDS: Final = 10.0  # the shortest time that a rate may cover


class Activity(NamedTuple):
    """Jobs per minute that completed or failed, the share of them that failed, and the average seconds of an
    attempt, over the last `seconds`. None: no such totals, or nothing ended."""

    seconds: float
    jobs_per_minute: float | None
    error_rate: float | None
    processing_seconds: float | None


class ActivityHistory:
    """The samples of one target: at most 22, however often a step is made."""

    def __init__(self) -> None:
        self._samples: deque[QueueSample] = deque()

    def observe(self, sample: QueueSample) -> Activity | None:
        """The activity up to this sample; None until there is one that is old enough. Totals that fell, or
        that were not there before, started over: the former ones are forgotten."""
        if self._samples and _began(self._samples[-1], sample):
            self._samples.clear()
        while len(self._samples) > 1 and self._samples[1].at <= sample.at - ACTIVITY_SECONDS:
            self._samples.popleft()
        activity = None
        if self._samples and sample.at - self._samples[0].at >= _MIN_SECONDS:
            activity = activity_between(self._samples[0], sample)
        if not self._samples or sample.at - self._samples[-1].at >= _STEP:
            self._samples.append(sample)
        return activity


def activity_between(before: QueueSample, now: QueueSample) -> Activity:
    """The activity between two samples of the same counters."""
    seconds = now.at - before.at
    completed, failed = _grown(before.completed, now.completed), _grown(before.failed, now.failed)
    attempts = _grown(_since_none(before.duration_count, before), now.duration_count)
    busy = _grown(_since_none(before.duration_sum, before), now.duration_sum)
    ended = None if completed is None or failed is None else completed + failed
    return Activity(
        seconds=seconds,
        jobs_per_minute=None if ended is None else ended * 60 / seconds,
        error_rate=failed / ended if ended and failed is not None else None,
        processing_seconds=busy / attempts if attempts and busy is not None else None,
    )


def _since_none(duration: float | None, sample: QueueSample) -> float | None:
    """The durations begin with the first attempt that ends, the totals with the queue: 0 until then."""
    return 0.0 if duration is None and sample.completed is not None else duration


def _grown(before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None else now - before


def _began(before: QueueSample, now: QueueSample) -> bool:
    """A queue is seen before its events are: one sample without totals must not hide those of minutes."""
    if before.completed is None and now.completed is not None:
        return True
    return (
        (_grown(before.completed, now.completed) or 0.0) < 0
        or (_grown(before.failed, now.failed) or 0.0) < 0
        or (_grown(before.duration_count, now.duration_count) or 0.0) < 0
        or (_grown(before.duration_sum, now.duration_sum) or 0.0) < 0
    )
