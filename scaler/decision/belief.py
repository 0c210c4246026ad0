"""Whether a sample can be decided on: it is fresh, its figures are numbers, and it is no absurdity. Pure."""

from __future__ import annotations

from math import isfinite
from typing import Final

from scaler.config.settings import PolicySettings
from scaler.decision.memory import GuardMemory
from scaler.model import Missing, Observation, Proposal, QueueSample

_AHEAD_SECONDS: Final = 10.0  # a sample may be up to this far ahead: clocks differ
_MANY_JOBS: Final = 10_000.0
_MANY_TIMES: Final = 100.0  # what was there before, and what all workers could run at once
_USUAL_SLOTS: Final = 10
_SOME_JOBS: Final = 1_000.0
_TEN_TIMES: Final = 10.0  # the workers, the jobs that were there, or the slots that jobs can be active in


def fresh_sample(
    settings: PolicySettings, observation: Observation, memory: GuardMemory
) -> QueueSample | Missing:
    """The sample; Missing if it is too old to decide on, or in the future: time may have gone backwards; if a
    figure is no number; or if it has so many more jobs than the last one that the next one has to confirm it.
    """
    sample = observation.sample
    if isinstance(sample, Missing):
        return sample
    if not isfinite(sum(filter(None, sample))):  # one of them is not, or together they are too large
        for figure, value in zip(sample._fields, sample, strict=True):
            if value is not None and not isfinite(value):
                return Missing("invalid", f"{figure} is {value}, not a number of jobs or seconds")
    age = observation.time - sample.at
    if age > settings.metrics_max_age_seconds:
        return Missing(
            "stale", f"the metrics are {age:.0f} s old, over {settings.metrics_max_age_seconds:g} s"
        )
    if age < -_AHEAD_SECONDS:
        return Missing("stale", f"the metrics are {-age:.0f} s ahead: the clocks of the machines differ")
    if is_doubted(settings, observation, memory):
        why = f"{jobs_of(sample):.0f} jobs after {memory.jobs:.0f}"
        return Missing("invalid", f"{why} are not believed until the next sample has them too")
    return sample


def is_doubted(settings: PolicySettings, observation: Observation, memory: GuardMemory) -> bool:
    """A sample with that many jobs, or with many more active ones than can run, is doubted once."""
    sample = observation.sample
    if isinstance(sample, Missing) or not _is_first(sample, memory):
        return False
    usual = memory.jobs + settings.max_workers * (settings.worker_concurrency or _USUAL_SLOTS)
    absurd = jobs_of(sample) > _MANY_JOBS + _MANY_TIMES * usual
    return absurd or sample.active > _TEN_TIMES * _possible(settings, observation, memory)


def jump_of(
    settings: PolicySettings, observation: Observation, proposal: Proposal, memory: GuardMemory
) -> Missing | None:
    """Why this proposal waits for the next sample, a fraction of the SLO later: on many times the jobs that
    were there it would scale out to more than ten times the workers. None: it does not."""
    sample = observation.sample
    if isinstance(sample, Missing) or not _is_first(sample, memory):
        return None
    jobs, workers = jobs_of(sample), min(proposal.workers, settings.max_workers)
    if jobs <= _SOME_JOBS + _TEN_TIMES * _possible(settings, observation, memory):
        return None
    if workers <= _TEN_TIMES * max(1, observation.workers):
        return None
    why = f"{jobs:.0f} jobs after {memory.jobs:.0f}, and {workers} workers for them"
    return Missing("invalid", f"{why}, are not believed until the next sample has them too")


def _is_first(sample: QueueSample, memory: GuardMemory) -> bool:
    """Whether no sample before this one was doubted."""
    return memory.doubted in {None, sample.at}


def _possible(settings: PolicySettings, observation: Observation, memory: GuardMemory) -> float:
    """The slots, or the jobs that were there: workers that were removed go on with theirs."""
    each = settings.worker_concurrency or _USUAL_SLOTS * (settings.worker_concurrency_per_queue or 1)
    return max(memory.jobs, max(1, observation.workers, observation.ready or 0) * each)


def jobs_of(sample: QueueSample) -> float:
    """All that wait, run or are due."""
    return sample.waiting + sample.active + (sample.due or 0.0)
