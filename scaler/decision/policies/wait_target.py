"""Keeps the waiting time of jobs under an SLO: what is needed now, and what may come before new workers help.

Three needs, counted in slots (jobs that run at once); the largest wins:

- steady: rate x service time (Little's law), plus headroom for their variance: its square root, or, where
  jobs are short compared with the SLO, what keeps an exponential tail of the wait over it below one in fifty.
- burst: a worker requested now helps in `horizon` seconds. Until then the rate may rise by as much as the
  forecasts of this queue have been wrong, and a queue may grow, but not past the SLO's share `aim`.
- drain: what will wait when the new workers are ready has to be done within that share; delayed jobs are
  known before they wait, so that workers can be ready for them.

No need exceeds the jobs that there can be by then: those inside and those that arrive.

The horizon is the 0.9-quantile of measured start times, half an interval and the age of the metrics. Up at
once; down to the highest need of the last minutes, at most by half, and later each time that scaling in
proved premature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil, inf, log, sqrt
from typing import Any, Final, TypeAlias

from pydantic import TypeAdapter, ValidationError

from scaler.config.settings import PolicySettings
from scaler.decision.policies.forecast import Flow, update_flow
from scaler.model import DUE_SECONDS, Observation, Proposal, QueueSample

_DEFAULT_START_SECONDS: Final = 40.0
_TAIL: Final = log(50.0)
_PEAK_ROOM: Final = 1.1
_DRAIN_LIMIT: Final = 6.0
_DRAIN_SECONDS: Final = 60.0
_HOLD_MOST: Final = 2.5  # times hold_seconds
_HOLD_GROWTH: Final = 1.5
_HOLD_HALF_LIFE: Final = 1200.0
_HOLD_DRAIN: Final = 0.25  # of hold_seconds
_ROUNDING_TOLERANCE: Final = 0.1  # of a worker: a need above a whole number by less is not rounded up

ReplicaHistory: TypeAlias = tuple[tuple[float, int], ...]
"""Times and numbers of workers: ascending in time, each number below the one before."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The flow of the queue, the needs that still prevent scaling in, and by how many seconds longer than
    `hold_seconds` they do (`longer`, as of `longer_at`). `shrunk`: the last scale-in, when and from what."""

    flow: Flow | None = None
    concurrency: float = 1.0
    needed: ReplicaHistory = ()
    drained: ReplicaHistory = ()
    longer: float = 0.0
    longer_at: float = 0.0
    shrunk: tuple[float, int] | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    """The inputs of one decision: `slots` of a worker, the horizon in seconds."""

    settings: PolicySettings
    observation: Observation
    sample: QueueSample
    flow: Flow
    slots: float
    horizon: float

    @property
    def ready(self) -> int:
        """Workers that can take jobs, without those that are terminating."""
        ready, requested = self.observation.ready, self.observation.workers
        return requested if ready is None else min(ready, requested)


@dataclass(frozen=True, slots=True)
class _Needs:
    """In slots; `queue` in jobs."""

    steady: float
    burst: float
    drain: float
    queue: float


class WaitTarget:
    """The policy `wait_target`."""

    def initial_memory(self) -> Memory:
        return Memory()

    def decide(
        self,
        settings: PolicySettings,
        interval: float,
        observation: Observation,
        sample: QueueSample,
        memory: Memory,
    ) -> tuple[Proposal, Memory]:
        age = min(max(0.0, observation.time - sample.at), settings.metrics_max_age_seconds)
        start = _DEFAULT_START_SECONDS if observation.start_seconds is None else observation.start_seconds
        horizon = max(1.0, start + interval / 2 + age)
        flow = update_flow(memory.flow, sample, horizon)
        slots = settings.worker_concurrency or _concurrency(memory.concurrency, observation, sample)
        if flow is None or flow.level is None:
            proposal = _by_jobs(observation, sample, slots, has_totals=flow is not None)
            return proposal, _with_flow(memory, flow, slots)
        step = _Step(settings, observation, sample, flow, slots, horizon)
        needs = _needs(step)
        base, drain = _workers(max(needs.steady, needs.burst), slots), _workers(needs.drain, slots)
        memory = _next_memory(memory, step, base, drain)
        workers, reason = _choose(step, memory, needs, base, drain)
        if workers < observation.workers:
            memory = _with_flow(memory, flow, slots, shrunk=(observation.time, observation.workers))
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
            raise ValueError("invalid memory of wait_target") from None


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
    growth = (flow.rate - step.ready * step.slots / service) * horizon
    queue = max(0.0, step.sample.waiting + due + growth)
    return _Needs(
        steady=min(load + min(sqrt(load), service / slo * _TAIL), inside + flow.rate * horizon),
        burst=min(rate * service / (1.0 + budget / horizon), inside + rate * horizon),
        drain=max(_drain(queue, service, slo, budget, load), min(due, due * service / budget)),
        queue=queue,
    )


def _drain(queue: float, service: float, slo: float, budget: float, load: float) -> float:
    """Slots that drain `queue` jobs within the budget, but not above some multiple of the load unless that
    would take longer than the SLO or a minute, and never more slots than jobs."""
    return min(
        queue,
        max(min(queue * service / budget, _DRAIN_LIMIT * load), queue * service / min(slo, _DRAIN_SECONDS)),
    )


def _workers(need: float, slots: float) -> int:
    return max(0, ceil(need / slots - _ROUNDING_TOLERANCE))


def _concurrency(concurrency: float, observation: Observation, sample: QueueSample) -> float:
    """Measured jobs that a worker runs at once: exact while jobs wait, else a lower bound."""
    workers = observation.workers if observation.ready is None else observation.ready
    if workers <= 0:
        return concurrency
    measured = max(1.0, sample.active / workers)
    exact = sample.waiting > 0 and sample.active > 0
    return (concurrency + measured) / 2 if exact else max(concurrency, measured)


def _by_jobs(observation: Observation, sample: QueueSample, slots: float, *, has_totals: bool) -> Proposal:
    """Until there is a rate: no change; without totals, from which none can be known: a slot for each job."""
    inputs = {"waiting": sample.waiting, "active": sample.active, "concurrency": slots}
    if has_totals:
        return Proposal(observation.workers, "learning", "first sample: no rate yet", inputs)
    workers = _workers(sample.waiting + sample.active, slots)
    sentence = f"no counters of ended jobs: one slot for each of {sample.waiting + sample.active:g} jobs"
    return Proposal(workers, "jobs", sentence, inputs)


# --- hold before scaling in ------------------------------------------------------------------------------


def _with_flow(
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


def _next_memory(memory: Memory, step: _Step, base: int, drain: int) -> Memory:
    now, base_hold = step.observation.time, step.settings.hold_seconds
    longer, longer_at, shrunk = memory.longer, memory.longer_at, memory.shrunk
    if shrunk is not None and base >= shrunk[1] and now - shrunk[0] < 2 * step.horizon:  # premature
        hold = min(base_hold * _HOLD_MOST, _hold_seconds(step, memory) * _HOLD_GROWTH)
        longer, longer_at, shrunk = hold - base_hold, now, None
    return Memory(
        step.flow,
        step.slots,
        _with_need(memory.needed, now, base, base_hold * _HOLD_MOST),
        _with_need(memory.drained, now, drain, base_hold * _HOLD_DRAIN),
        longer,
        longer_at,
        shrunk,
    )


def _hold_seconds(step: _Step, memory: Memory) -> float:
    """Seconds that a need prevents scaling in: what premature scaling in has added decays."""
    base_hold, age = step.settings.hold_seconds, max(0.0, step.observation.time - memory.longer_at)
    return min(base_hold * _HOLD_MOST, base_hold + memory.longer * float(0.5 ** (age / _HOLD_HALF_LIFE)))


def _with_need(history: ReplicaHistory, now: float, workers: int, seconds: float) -> ReplicaHistory:
    """With the newest need; without lower ones before it, and those that are too old or of another clock."""
    return (
        *(entry for entry in history if now - seconds <= entry[0] < now and entry[1] > workers),
        (now, workers),
    )


def _highest_since(history: ReplicaHistory, since: float) -> int:
    return next(workers for time, workers in history if time >= since)


def _choose(step: _Step, memory: Memory, needs: _Needs, base: int, drain: int) -> tuple[int, str]:
    """The number of workers, and the reason."""
    current, since = step.observation.workers, step.observation.time - _hold_seconds(step, memory)
    if base > current or drain > current:
        if drain > base:
            return drain, "drain"
        return base, "burst" if needs.burst > needs.steady else "steady"
    needed = max(_highest_since(memory.needed, since), _highest_since(memory.drained, -inf))
    if needed >= current:
        return current, "enough" if max(base, drain) == current else "held"
    return max(needed, current - max(1, current // 2)), "surplus"


def _sentence(reason: str, workers: int, inputs: Mapping[str, float], needs: _Needs) -> str:
    work = f"{inputs['rate']:.3g} jobs/s of {inputs['service_seconds']:.3g} s each"
    match reason:
        case "drain":
            return (
                f"{needs.queue:.0f} jobs would wait in {inputs['horizon_seconds']:.0f} s: "
                f"{needs.drain:.1f} slots drain them in time"
            )
        case "burst":
            return f"{work}, with bursts until new workers are ready: {needs.burst:.1f} slots"
        case "held":
            return f"{work}: held, as more workers were needed recently"
        case "surplus":
            covered = "1 worker covers" if workers == 1 else f"{workers} workers cover"
            return f"{work}: {covered} the recent needs"
    return f"{work}: {needs.steady:.1f} slots"
