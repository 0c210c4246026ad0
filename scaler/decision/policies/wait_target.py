"""Keeps the waiting time of jobs under an SLO: what is needed now, and what may come before help can.

Three needs, counted in slots (jobs that run at once); the largest wins:

- steady: rate x service time (Little's law), and room for their scatter: a square root of it, or, where jobs
  are short beside the SLO, what keeps an exponential tail of the wait over it below one in fifty.
- burst: a worker that is asked for now helps in `horizon` seconds. Until then the rate may rise by as much as
  forecasts of this queue have been wrong, and a queue may grow, but not past the SLO's share `aim`.
- drain: what will wait when help is there has to be gone within that share; delayed jobs are known before
  they wait, so that workers can be there for them.

None is for more jobs than there can be by then: those that are inside and those that arrive.

The horizon is the 0.9-quantile of measured start times, half an interval and the age of the metrics. Up at
once; down to the most that was needed in the last minutes, at most by half, and later each time that it
proved premature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil, inf, log, sqrt
from typing import Any, Final, TypeAlias

from pydantic import TypeAdapter, ValidationError

from scaler.decision.policies.forecast import Flow, learn
from scaler.model import DUE_SECONDS, Observation, Proposal, QueueSample
from scaler.settings import PolicySettings

_UNMEASURED_START: Final = 40.0
_TAIL: Final = log(50.0)
_PEAK_ROOM: Final = 1.1
_DRAIN_LIMIT: Final = 6.0
_DRAIN_SECONDS: Final = 60.0
_HOLD_MOST: Final = 2.5  # times hold_seconds
_HOLD_GROWTH: Final = 1.5
_HOLD_HALF_LIFE: Final = 1200.0
_HOLD_DRAIN: Final = 0.25  # of hold_seconds
_ROUNDING: Final = 0.1  # of a worker, that is not asked for

ReplicaHistory: TypeAlias = tuple[tuple[float, int], ...]
"""Times and numbers of workers, both ascending in time and each number below the one before."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The queue's work, the needs that still hold workers back, and the seconds that they do so beyond
    `hold_seconds`, as of `longer_at`."""

    flow: Flow | None = None
    concurrency: float = 1.0
    needed: ReplicaHistory = ()
    drained: ReplicaHistory = ()
    longer: float = 0.0
    longer_at: float = 0.0
    shrunk: tuple[float, int] | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    """What one decision is made of: `slots` of a worker, the horizon in seconds."""

    settings: PolicySettings
    seen: Observation
    sample: QueueSample
    flow: Flow
    slots: float
    horizon: float

    @property
    def ready(self) -> int:
        """Workers that can take jobs, without those that are about to leave."""
        seen = self.seen
        return seen.workers if seen.ready is None else min(seen.ready, seen.workers)


@dataclass(frozen=True, slots=True)
class _Needs:
    """In slots; `queue` in jobs."""

    steady: float
    burst: float
    drain: float
    queue: float


class WaitTarget:
    """The policy `wait_target`."""

    def begin(self) -> Memory:
        return Memory()

    def decide(
        self,
        settings: PolicySettings,
        interval: float,
        seen: Observation,
        sample: QueueSample,
        memory: Memory,
    ) -> tuple[Proposal, Memory]:
        age = min(max(0.0, seen.time - sample.at), settings.metrics_max_age_seconds)
        start = _UNMEASURED_START if seen.start_seconds is None else seen.start_seconds
        horizon = max(1.0, start + interval / 2 + age)
        flow = learn(memory.flow, sample, horizon)
        slots = settings.worker_concurrency or _concurrency(memory.concurrency, seen, sample)
        if flow is None or flow.level is None:
            return _by_jobs(seen, sample, slots, known=flow is not None), _keep(memory, flow, slots)
        step = _Step(settings, seen, sample, flow, slots, horizon)
        needs = _needs(step)
        base, drain = _workers(max(needs.steady, needs.burst), slots), _workers(needs.drain, slots)
        memory = _remember(memory, step, base, drain)
        workers, reason = _held(step, memory, needs, base, drain)
        if workers < seen.workers:
            memory = _keep(memory, flow, slots, shrunk=(seen.time, seen.workers))
        inputs = {
            "rate": flow.rate,
            "service_seconds": flow.service,
            "concurrency": slots,
            "horizon_seconds": horizon,
            "waiting": sample.waiting,
            "steady_slots": needs.steady,
            "burst_slots": needs.burst,
            "drain_slots": needs.drain,
        }
        return Proposal(workers, reason, _sentence(reason, workers, inputs, needs), inputs), memory

    def dump(self, memory: Memory) -> dict[str, Any]:
        return asdict(memory)

    def load(self, data: Mapping[str, Any]) -> Memory:
        try:
            return _MEMORY.validate_python(data)
        except ValidationError:
            raise ValueError("not what wait_target remembered") from None


_MEMORY: Final = TypeAdapter(Memory)


# --- needs -----------------------------------------------------------------------------------------------


def _needs(step: _Step) -> _Needs:
    flow, horizon = step.flow, step.horizon
    service, slo = max(flow.service, 1e-3), step.settings.wait_slo_seconds
    budget = step.settings.aim * slo
    load = flow.rate * service
    ceiling = max(flow.rate, _PEAK_ROOM * flow.peak) if flow.tried else inf
    rate = min(flow.rate + flow.error * (flow.level or 0.0), ceiling)
    due = (step.sample.due or 0.0) * min(1.0, horizon / DUE_SECONDS)
    inside = flow.inside + due
    grown = (flow.rate - step.ready * step.slots / service) * horizon
    queue = max(0.0, step.sample.waiting + due + grown)
    return _Needs(
        steady=min(load + min(sqrt(load), service / slo * _TAIL), inside + flow.rate * horizon),
        burst=min(rate * service / (1.0 + budget / horizon), inside + rate * horizon),
        drain=max(_drain(queue, service, slo, budget, load), min(due, due * service / budget)),
        queue=queue,
    )


def _drain(queue: float, service: float, slo: float, budget: float, load: float) -> float:
    """Slots that end `queue` jobs within the budget, but no more than some times the load unless it would
    take over the SLO or a minute, and never more than jobs."""
    return min(
        queue,
        max(min(queue * service / budget, _DRAIN_LIMIT * load), queue * service / min(slo, _DRAIN_SECONDS)),
    )


def _workers(need: float, slots: float) -> int:
    return max(0, ceil(need / slots - _ROUNDING))


def _concurrency(known: float, seen: Observation, sample: QueueSample) -> float:
    """Jobs that a worker was seen to run at once: exact while jobs wait, else at least so many."""
    workers = seen.workers if seen.ready is None else seen.ready
    if workers <= 0:
        return known
    seen_now = max(1.0, sample.active / workers)
    return (known + seen_now) / 2 if sample.waiting > 0 and sample.active > 0 else max(known, seen_now)


def _by_jobs(seen: Observation, sample: QueueSample, slots: float, *, known: bool) -> Proposal:
    """Until a rate is known: never fewer workers; where none can be known, a slot for each job."""
    inputs = {"waiting": sample.waiting, "active": sample.active, "concurrency": slots}
    if known:
        return Proposal(seen.workers, "learning", "first sample: nothing to compare it with", inputs)
    workers = _workers(sample.waiting + sample.active, slots)
    sentence = f"no counters of ended jobs: a slot for each of {sample.waiting + sample.active:g} jobs"
    return Proposal(workers, "jobs", sentence, inputs)


# --- holding back ----------------------------------------------------------------------------------------


def _keep(
    memory: Memory, flow: Flow | None, slots: float, *, shrunk: tuple[float, int] | None = None
) -> Memory:
    return Memory(
        flow,
        slots,
        memory.needed,
        memory.drained,
        memory.longer,
        memory.longer_at,
        shrunk or memory.shrunk,
    )


def _remember(memory: Memory, step: _Step, base: int, drain: int) -> Memory:
    now, usual = step.seen.time, step.settings.hold_seconds
    longer, longer_at, shrunk = memory.longer, memory.longer_at, memory.shrunk
    if shrunk is not None and base >= shrunk[1] and now - shrunk[0] < 2 * step.horizon:  # premature
        hold = min(usual * _HOLD_MOST, _hold(step, memory) * _HOLD_GROWTH)
        longer, longer_at, shrunk = hold - usual, now, None
    return Memory(
        step.flow,
        step.slots,
        _appended(memory.needed, now, base, usual * _HOLD_MOST),
        _appended(memory.drained, now, drain, usual * _HOLD_DRAIN),
        longer,
        longer_at,
        shrunk,
    )


def _hold(step: _Step, memory: Memory) -> float:
    """Seconds that a need holds workers back: what premature scaling in has added fades."""
    usual, age = step.settings.hold_seconds, max(0.0, step.seen.time - memory.longer_at)
    return min(usual * _HOLD_MOST, usual + memory.longer * float(0.5 ** (age / _HOLD_HALF_LIFE)))


def _appended(wanted: ReplicaHistory, now: float, workers: int, seconds: float) -> ReplicaHistory:
    """With the newest, without what it hides and what is too old; times of another clock go as well."""
    return (*(one for one in wanted if now - seconds <= one[0] < now and one[1] > workers), (now, workers))


def _most(wanted: ReplicaHistory, since: float) -> int:
    return next(workers for time, workers in wanted if time >= since)


def _held(step: _Step, memory: Memory, needs: _Needs, base: int, drain: int) -> tuple[int, str]:
    """The number and the word of what won."""
    current, since = step.seen.workers, step.seen.time - _hold(step, memory)
    if base > current or drain > current:
        if drain > base:
            return drain, "drain"
        return base, "burst" if needs.burst > needs.steady else "steady"
    wanted = max(_most(memory.needed, since), _most(memory.drained, -inf))
    if wanted >= current:
        return current, "enough" if max(base, drain) == current else "held"
    return max(wanted, current - max(1, current // 2)), "surplus"


def _sentence(reason: str, workers: int, inputs: Mapping[str, float], needs: _Needs) -> str:
    work = f"{inputs['rate']:.3g} jobs/s of {inputs['service_seconds']:.3g} s each"
    match reason:
        case "drain":
            return (
                f"{needs.queue:.0f} jobs would wait in {inputs['horizon_seconds']:.0f} s: "
                f"{needs.drain:.1f} slots end them in time"
            )
        case "burst":
            return f"{work}, and bursts before help is there: {needs.burst:.1f} slots"
        case "held":
            return f"{work}: fewer would do, but more were needed a moment ago"
        case "surplus":
            return f"{work}: {workers} are enough for all that was needed lately"
    return f"{work}: {needs.steady:.1f} slots"
