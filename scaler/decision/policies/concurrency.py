"""How many jobs a worker runs at once, measured from active jobs and ready workers. Pure."""

from __future__ import annotations

from math import inf
from typing import Final, NamedTuple

from scaler.config.settings import PolicySettings
from scaler.model import Observation, QueueSample

_TERMINATES_SECONDS: Final = 60.0  # so long the jobs of workers that are not ready any more may be active
_FADES: Final = 0.1  # of the difference, at each sample with fewer active jobs per worker
_MANY_TIMES: Final = 10.0  # so many times more than known is believed when the next sample has it too
_ABSURD: Final = 100.0  # so many times more than in the next sample, the first number is not believed


class Concurrency(NamedTuple):
    """`jobs` of a worker, 0 until they are known; `claimed`: those of the last sample, if it was not believed
    alone; `ready`: the numbers of ready workers of the last minute, with their times."""

    jobs: float = 0.0
    claimed: float = 0.0
    ready: tuple[tuple[float, int], ...] = ()

    @property
    def most(self) -> int:
        """The most ready workers of the last minute."""
        return max(workers for _, workers in self.ready)

    def settled(self, since: float) -> int:
        """The workers that have been ready since a time (unix s)."""
        return min(workers for at, workers in self.ready if at >= since)


def concurrency_is_possible(known: Concurrency) -> bool:
    """Whether this may have been measured: a worker that is known runs one job at least."""
    return (known.jobs == 0 or known.jobs >= 1) and all(workers >= 0 for _, workers in known.ready)


def update_concurrency(known: Concurrency, observation: Observation, sample: QueueSample) -> Concurrency:
    """With this sample: while jobs wait as many as are active, else at least those.

    Active jobs may be those of workers that were ready lately and are not now. Fewer beside waiting jobs may
    be the work of a rate limit: so they lower it slowly. A first number, and one that is many times larger,
    counts for good only when two samples have it. Workers that are not ready for a moment may go on with
    their jobs: all that are requested share them. So do those that a rollout has beside them.
    """
    now = observation.time
    recent = (entry for entry in known.ready if now - _TERMINATES_SECONDS <= entry[0] < now)
    ready = (*recent, (now, ready_workers(observation)))
    workers, most = ready[-1][1], max(observation.with_jobs, *(number for _, number in ready))
    if workers <= 0 or sample.active <= 0:
        return Concurrency(known.jobs, known.claimed, ready)
    measured = max(1.0, sample.active / most)
    if known.jobs == 0:
        return Concurrency(measured, measured, ready)
    jobs = known.jobs
    if known.claimed == jobs and measured * _ABSURD < jobs:  # nothing but that one sample speaks for it
        return Concurrency(measured, 0.0, ready)
    if measured > jobs:
        return Concurrency(max(jobs, min(measured, known.claimed)), measured, ready)
    if sample.waiting <= 0:
        return Concurrency(jobs, 0.0, ready)
    return Concurrency(
        jobs + _FADES * (max(1.0, min(jobs, sample.running(jobs * workers) / workers)) - jobs), 0.0, ready
    )


def worker_slots(settings: PolicySettings, known: Concurrency, sample: QueueSample) -> float:
    """The jobs that a worker runs at once, as set or as measured. Slots of single queues count as far as the
    jobs are spread: with all of them in one queue those of the others stay free."""
    each = settings.worker_concurrency_per_queue
    if each is None:
        return float(settings.worker_concurrency or known.jobs or 1.0)
    share = min(1.0, sample.largest_share or 1.0)
    return min(each / share, settings.worker_concurrency or inf)


def ready_workers(observation: Observation) -> int:
    """Workers that can take jobs, without those that are terminating."""
    requested, ready = observation.workers, observation.ready
    return requested if ready is None else min(ready, requested)
