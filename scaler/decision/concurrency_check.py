"""Whether workers run more jobs at once than they are set to. Pure.

That they run fewer is for the policy to find: jobs that wait beside free slots may also be held by a limit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Final

from scaler.config.settings import PolicySettings
from scaler.model import Missing, QueueSample, Workers

_CLEARLY: Final = 1.1  # times the slots: samples and numbers of workers are not of the same moment
_SAMPLES: Final = 4
_LASTS_SECONDS: Final = 300.0
_LEAVES_SECONDS: Final = (
    120.0  # after the grace period the jobs of a worker that was killed are active no more
)
_UNKNOWN_GRACE_SECONDS: Final = 900.0
_APART_SECONDS: Final = 300.0  # samples that are further apart are not in a row


@dataclass(frozen=True, slots=True)
class ExcessJobs:
    """`samples` in a row, from `since` until `last` (unix s), with clearly more jobs than the `slots` of each
    worker: the `fewest` active jobs and the `most` workers of them."""

    slots: float
    since: float
    last: float
    samples: int
    fewest: float
    most: int


def most_jobs(settings: PolicySettings, queues: int) -> float | None:
    """The most jobs that a worker of so many queues runs at once, as it is set; None: it is not set."""
    each, together = settings.worker_concurrency_per_queue, settings.worker_concurrency
    if each is None:
        return together
    return min(each * queues, inf if together is None else together)


def update_excess(
    before: ExcessJobs | None, sample: QueueSample | Missing, workers: Workers, slots: float | None
) -> ExcessJobs | None:
    """With this sample; None if it shows no excess, by those of the workers that are ready or requested,
    and those that are leaving."""
    if slots is None or workers.ready is None:
        return None
    if isinstance(sample, Missing) or (before is not None and sample.at <= before.last):
        return before
    there = max(workers.requested, workers.ready) + workers.leaving
    alone = ExcessJobs(slots, sample.at, sample.at, 1, sample.active, there)
    if before is not None and before.slots == slots and sample.at - before.last <= _APART_SECONDS:
        fewest, most = min(before.fewest, sample.active), max(before.most, there)
        both = replace(alone, since=before.since, samples=before.samples + 1, fewest=fewest, most=most)
        if _is_excess(both):
            return both
    return alone if _is_excess(alone) else None


def jobs_in_excess(excess: ExcessJobs | None, grace_seconds: float | None) -> float | None:
    """The jobs that each worker ran at least, if it lasts longer than workers that are leaving may go on with
    theirs; None: no excess is proved."""
    if excess is None or excess.samples < _SAMPLES:
        return None
    grace = _UNKNOWN_GRACE_SECONDS if grace_seconds is None else grace_seconds
    lasts = excess.last - excess.since >= max(_LASTS_SECONDS, grace + _LEAVES_SECONDS)
    return excess.fewest / excess.most if lasts else None


def _is_excess(excess: ExcessJobs) -> bool:
    return excess.most > 0 and excess.fewest > _CLEARLY * excess.slots * excess.most
