"""Keeps the wait of jobs under an SLO with the fewest workers: `needs` says how many slots that takes.

Up at once. Down to the most load that there was within the cost of a start, because a worker that is removed
costs its start again (ski rental: to hold it for as long is never worse than twice the best); a backlog that
was drained does not come again so soon, and is held for a third of a start only. Everything else that may
change the number is a guard, which also keeps the workers that have a job: see scaler.decision.guards.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, Final, NamedTuple, TypeAlias

from pydantic import TypeAdapter

from scaler.config.settings import PolicySettings
from scaler.decision.memory import fields_of, memory_of
from scaler.decision.policies.concurrency import (
    Concurrency,
    concurrency_is_possible,
    ready_workers,
    update_concurrency,
    worker_slots,
)
from scaler.decision.policies.flow import (
    Flow,
    Means,
    flow_is_possible,
    mean_rate,
    most_busy,
    none_ended,
    oldest_wait,
    proved_rate,
    run_time,
    update_flow,
)
from scaler.decision.policies.needs import Needs, Situation, needs_of
from scaler.decision.policies.sentences import DecisionFigures, sentence_of
from scaler.decision.policies.throttle import FULL, ReadyWorkers, Throttle, update_throttle
from scaler.model import Observation, Proposal, QueueSample

MEMORY_VERSION: Final = 3

_UNKNOWN_START_SECONDS: Final = 40.0
_UNKNOWN_RUN_SECONDS: Final = 1.0  # until a job has ended
_CERTAIN: Final = 3.0  # jobs that should have ended: that by chance none does has a probability of 5 %
_LEVEL_SECONDS: Final = 30.0  # the least span of the mean rate
_HOLD: Final = 1 / 3  # of a start: the optimum is flat
_ROUNDING_TOLERANCE: Final = 0.1  # of a worker: a need above a whole number by less is not rounded up
_FEWER: Final = 0.8  # of the jobs that a worker is set to run: that it takes no more is told
_SWING: Final = 0.25  # of a worker: a cap that is above those that are there by less adds none
_TAKES_SECONDS: Final = 30.0  # a worker that counts as ready takes jobs by then: some are counted too early

ReplicaHistory: TypeAlias = tuple[tuple[float, int], ...]
"""Times and numbers of workers: ascending in time, each number below the one before."""


class Memory(NamedTuple):
    """The flow of the queue; the needs that still prevent scaling in, all `needed` and those of the `loads`,
    and both as they were `before` the last sample; the measured `concurrency` of a worker; the last known run
    time of a job (s)."""

    flow: Flow | None = None
    needed: ReplicaHistory = ()
    loads: ReplicaHistory = ()
    before: tuple[ReplicaHistory, ReplicaHistory] = ((), ())
    throttle: Throttle = Throttle()
    concurrency: Concurrency = Concurrency()
    run_seconds: float | None = None


class _Step(NamedTuple):
    """The inputs of one decision: `slots` of a worker, seconds between two decisions; `ready`: workers that
    can take jobs, without those that are terminating; seconds of a worker's `start`, the `age` of the sample,
    and how long any need prevents scaling in (`hold`)."""

    settings: PolicySettings
    interval: float
    observation: Observation
    sample: QueueSample
    slots: float
    ready: int
    start: float
    age: float
    hold: float

    @property
    def ready_slots(self) -> float:
        """As many as there are active jobs at least: a worker that is not ready goes on with its jobs."""
        return max(self.ready * self.slots, min(self.sample.active, self.observation.workers * self.slots))

    @property
    def hold_load(self) -> float:
        """Seconds that a load prevents scaling in, of workers that are ready: their start is paid."""
        return self.hold + self.settings.start_cost_seconds

    def workers(self, slots: float) -> int:
        """The workers that have so many slots, or a tenth of a worker less."""
        return max(0, ceil(slots / self.slots - _ROUNDING_TOLERANCE))


def _step_of(
    settings: PolicySettings, interval: float, observation: Observation, sample: QueueSample, slots: float
) -> _Step:
    start = observation.start_seconds
    if start is None:  # an SLO is set by those whose workers start within it
        start = min(_UNKNOWN_START_SECONDS, settings.wait_slo_seconds)
    age = min(max(0.0, observation.time - sample.at), settings.metrics_max_age_seconds)
    hold = max(interval, _HOLD * (start + age))
    ready = ready_workers(observation)
    return _Step(settings, interval, observation, sample, slots, ready, start, age, hold)


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
        known_run = _known_run(memory, sample)
        concurrency = update_concurrency(memory.concurrency, observation, sample)
        slots = worker_slots(settings, concurrency, sample)
        slots = min(slots, memory.throttle.taken or slots)
        step = _step_of(settings, interval, observation, sample, slots)
        most = concurrency.most
        # Workers that are not ready have ended nothing, however many were asked for.
        means = Means(most * slots, memory.run_seconds)
        max_age = settings.metrics_max_age_seconds
        flow = update_flow(memory.flow, sample, means, interval=interval, max_age=max_age)
        if flow is None or not flow.measured:
            proposal = _without_rate(step, has_counters=flow is not None)
            # What was needed before is not known: what is there counts as needed now, and is held as long.
            there: ReplicaHistory = ((observation.time, observation.workers),)
            return proposal, Memory(
                flow, there, there, (there, there), Throttle(), concurrency, memory.run_seconds
            )
        fresh = memory.flow is None or flow.last.at > memory.flow.last.at
        settled = concurrency.settled(observation.time - _TAKES_SECONDS)
        workers = ReadyWorkers(settled, most, slots, settings.min_workers, observation.with_jobs)
        free = _without_held(sample)
        active, free = free.active, free.with_running(step.ready * slots)
        stalled = free.active - active
        step = step if free is sample else step._replace(sample=free)
        throttle = update_throttle(memory.throttle, flow, step.sample, workers, fresh=fresh)
        held_back = (sample.held or 0.0) - (free.held or 0.0)
        situation = _situation(
            step, flow, _UNKNOWN_RUN_SECONDS if known_run is None else known_run, held_back, stalled
        )
        needs = needs_of(situation)
        if stalled > 0:
            known = needs_of(situation._replace(active=active))
            needs = _with_stalled(known, needs, step.ready * slots + situation.waiting)
        need, reason = needs.most, needs.winner
        cap = _cap(step, throttle, need)
        if cap is not None and need > cap:
            need, reason = _without_swing(cap, step), "throttled"
        enough = max(int(situation.inside > situation.paused), step.workers(need))
        held = memory.needed, memory.loads
        before = held if fresh else memory.before
        if flow.retracted:  # what the jobs needed that were none
            held = memory.before
        needed = _with_need(held[0], observation.time, enough, step.hold)
        load = min(enough, step.workers(max(needs.load, needs.due)))
        loads = _with_need(held[1], observation.time, load, step.hold_load)
        choice = _choose(step, reason, enough, (needed, loads), cap)
        limit, taken = sample.concurrency_limit, _taken(settings, throttle)
        figures = DecisionFigures(
            situation, needs, choice.workers, enough, slots, choice.held_for, cap, limit, taken
        )
        sentence = sentence_of(choice.reason, figures)
        proposal = Proposal(choice.workers, choice.reason, sentence, figures.inputs(), slots)
        run = situation.run_seconds
        return proposal, Memory(flow, needed, loads, before, throttle, concurrency, run)

    def dump(self, memory: Memory) -> dict[str, Any]:
        parts = {name: getattr(memory, name) for name in _PARTS}
        dumped = {name: None if part is None else part._asdict() for name, part in parts.items()}
        return {"version": MEMORY_VERSION, **memory._asdict(), **dumped}

    def load(self, data: Mapping[str, Any]) -> Memory:
        """What another version remembered is dropped: its figures mean something else."""
        if data.get("version") != MEMORY_VERSION:
            return Memory()
        try:
            known = fields_of(Memory, data)
            parts = {name: known[name] for name in _PARTS if known.get(name) is not None}
            known |= {name: fields_of(_PARTS[name], part) for name, part in parts.items()}
            memory = memory_of(_MEMORY, known)
        except ValueError:
            raise ValueError("invalid memory of wait_target") from None
        if not _is_possible(memory):
            raise ValueError("invalid memory of wait_target")
        return memory


_MEMORY: Final = TypeAdapter(Memory)
_PARTS: Final[Mapping[str, Any]] = {"flow": Flow, "throttle": Throttle, "concurrency": Concurrency}


def _is_possible(memory: Memory) -> bool:
    """Whether it may have been learned: it may have been edited."""
    taken, run = memory.throttle.taken, memory.run_seconds
    return (
        (memory.flow is None or flow_is_possible(memory.flow))
        and (taken is None or taken >= 1)
        and (run is None or run > 0)
        and concurrency_is_possible(memory.concurrency)
    )


# --- inputs ----------------------------------------------------------------------------------------------


def _without_held(sample: QueueSample) -> QueueSample:
    """Where a pause holds back the jobs of one of several queues: those of the others.

    The oldest job may be one of those that are held.
    """
    if not sample.held or (sample.held >= sample.waiting and sample.active == 0):
        return sample
    waiting = max(0.0, sample.waiting - sample.held)
    return sample._replace(waiting=waiting, held=0.0, oldest_waiting=None)


def _with_stalled(known: Needs, needs: Needs, most: float) -> Needs:
    """Jobs that stalled keep the slots that they may have, and those that wait get others: up to so many
    slots. A job that moved on leaves a slot, and whether it has is not known: it takes no new one."""
    return Needs(*(max(least, min(need, most)) for least, need in zip(known, needs, strict=True)))


def _cap(step: _Step, throttle: Throttle, need: float) -> float | None:
    """The most slots that get work; None: no limit is known that is below the need."""
    sample, there = step.sample, max(1, step.observation.workers) * step.slots
    if sample.paused and sample.active == 0:
        return 0.0
    limit = sample.concurrency_limit
    caps = [throttle.cap] if limit is None or limit >= need else [throttle.cap, limit]
    if throttle.cap is None and need > there and _is_limited(step, throttle):
        caps.append(there)  # as many have just started as a limit lets start: more slots start no more
    return min((cap for cap in caps if cap is not None), default=None)


def _is_limited(step: _Step, throttle: Throttle) -> bool:
    """Whether a limit holds jobs back now, or may: its window runs, and new workers have not taken jobs."""
    sample = step.sample
    free = sample.active < FULL * step.ready * step.slots
    return throttle.closed == sample.at or (bool(sample.limit_seconds) and sample.waiting > 0 and free)


def _taken(settings: PolicySettings, throttle: Throttle) -> float | None:
    """The jobs that a worker takes, if they are fewer than it is set to run; None: as many, or not known."""
    most = settings.worker_concurrency_per_queue or settings.worker_concurrency
    return throttle.taken if most and throttle.taken and throttle.taken < _FEWER * most else None


def _without_swing(cap: float, step: _Step) -> float:
    """The cap in slots; a part of a worker more than there are is the noise of what is busy in the mean."""
    there = step.observation.workers * step.slots
    return there if there < cap <= there + _SWING * step.slots else cap


def _situation(step: _Step, flow: Flow, known_run: float, held: float, stalled: float) -> Situation:
    sample, span = step.sample, step.start + step.interval
    horizon = span + step.age
    run = run_time(flow, span, known_run)
    looked_at = max(_LEVEL_SECONDS, span, 2 * run.seconds)
    level = mean_rate(flow, looked_at)
    oldest = oldest_wait(flow, sample.waiting) if sample.oldest_waiting is None else sample.oldest_waiting
    slo = step.settings.wait_slo_seconds
    late, looked = sample.waiting > 0 and oldest > slo, max(slo, horizon)
    stuck = late and sample.active * looked >= _CERTAIN * run.seconds and none_ended(flow, looked)
    return Situation(
        waiting=sample.waiting,
        active=sample.active,
        due=0.0 if sample.paused else sample.due or 0.0,
        level=level,
        rate=max(level, proved_rate(flow)),
        run_seconds=run.seconds,
        run_error=run.error,
        slo=slo,
        start=step.start,
        horizon=horizon,
        ready_slots=step.ready_slots,
        asked_slots=step.observation.workers * step.slots,
        oldest=oldest + step.age,
        held=held,
        stuck=stuck,
        paused=sample.waiting if sample.paused else 0.0,
        work=most_busy(flow, looked_at) + (sample.waiting + sample.active) * run.seconds / looked_at,
        stalled=stalled,
    )


def _known_run(memory: Memory, sample: QueueSample) -> float | None:
    """As it was last, else the mean of all attempts that the exporter saw; None: no attempt ended yet."""
    if memory.run_seconds is None and sample.duration_sum is not None and sample.duration_count:
        return sample.duration_sum / sample.duration_count
    return memory.run_seconds


def _without_rate(step: _Step, *, has_counters: bool) -> Proposal:
    """Until there is a rate: no change; without counters, from which none can be known, a slot for each
    job."""
    sample, current = step.sample, step.observation.workers
    inputs = {"waiting": sample.waiting, "active": sample.active, "concurrency": step.slots}
    if has_counters:
        return Proposal(current, "learning", "first sample: no rate yet", inputs, step.slots)
    jobs = sample.waiting + sample.active
    sentence = f"no counters of ended jobs: one slot for each of {jobs:.0f} jobs"
    return Proposal(step.workers(jobs), "jobs", sentence, inputs, step.slots)


# --- the number ------------------------------------------------------------------------------------------


class _Choice(NamedTuple):
    """`held_for`: seconds from now until a hold ends; None: nothing is held."""

    workers: int
    reason: str
    held_for: float | None = None


def _choose(
    step: _Step,
    reason: str,
    enough: int,
    held: tuple[ReplicaHistory, ReplicaHistory],
    cap: float | None,
) -> _Choice:
    """`held`: all needs that prevent scaling in, and those of the load. A cap lifts both: only with fewer
    workers it shows whether it is one, or whether workers take fewer jobs than they are said to."""
    needed, loads = held
    current, now = step.observation.workers, step.observation.time
    if enough >= current:
        return _Choice(enough, reason)
    since, most = needed[0]
    held_for = step.hold - (now - since)
    load_since, load = loads[0]
    if min(load, step.ready) > most:
        most, held_for = min(load, step.ready), step.hold_load - (now - load_since)
    if cap is not None:
        most = min(most, max(enough, step.workers(cap)))
    if most >= current:
        return _Choice(current, "held", held_for)
    return _Choice(most, reason if reason == "throttled" else "surplus")


def _with_need(history: ReplicaHistory, now: float, workers: int, seconds: float) -> ReplicaHistory:
    """With the newest need; without lower ones before it, and those that are too old or of another clock."""
    return (
        *(entry for entry in history if now - seconds <= entry[0] < now and entry[1] > workers),
        (now, workers),
    )
