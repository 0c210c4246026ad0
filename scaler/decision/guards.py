"""Guards between a policy's proposal and the target: STAGES, each of which may change the number. Those that
hold it come first (`scaler.decision.holds`); those here shape it: windows, cooldown, steps, bounds, jobs.

Pure. The memory is a value that can be saved; time is the observation's. A stage gets the number that the
stages before it left, and adds a note of what it changed. The bounds come last but one: a worker that has a
job stays until it ends, whatever the bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, inf
from typing import Final

from scaler.config.policy_keys import POLICY_OWN
from scaler.config.settings import PolicySettings
from scaler.decision.belief import fresh_sample
from scaler.decision.holds import HOLDS, KEEPING, SET_BY_SOMEBODY, GuardStep, Stage
from scaler.decision.memory import GuardMemory, ProposalHistory
from scaler.model import Control, Decision, Missing, Observation, Proposal, QueueSample

_COOLDOWN: Final = {"threshold": 300.0, "wait_target": 0.0}
_USUAL_GRACE: Final = 30.0  # seconds, where it is not known: Kubernetes' default


def _busy_workers(
    settings: PolicySettings,
    observation: Observation,
    sample: QueueSample | Missing,
    proposal: Proposal | None,
) -> int:
    """The workers that have a job: as many as the active jobs fill, and those that stalled and may run on;
    where it is known, all but the idle ones; never more than there are."""
    if isinstance(sample, Missing) or proposal is None:
        return 0
    current, ready, idle = observation.workers, observation.ready, observation.idle
    there = current if ready is None else ready
    running = sample.running(current * proposal.slots)  # one that stood still may not be ready, and goes on
    busy = ceil(running / _slots_of_busy(settings, observation, proposal) - 1e-9)
    each, fullest = settings.worker_concurrency_per_queue, sample.largest_active
    if each is not None and fullest is not None:
        most = settings.worker_concurrency or inf
        fullest += running - sample.active  # of which queue those are that stalled is not known
        busy = max(ceil(fullest / each - 1e-9), ceil(running / most - 1e-9))
    if idle is not None:
        busy = max(busy, there - idle)
    return max(0, min(busy, current))


def _slots_of_busy(settings: PolicySettings, observation: Observation, proposal: Proposal) -> float:
    """The jobs of a worker that has some. A measured number is the mean of all, and may be one of workers
    that are gone; where a job may outlast the grace period, each may be a worker's only one."""
    grace = observation.grace_seconds
    run = proposal.inputs.get("service_seconds", inf)
    known = settings.worker_concurrency or settings.worker_concurrency_per_queue
    return proposal.slots if known or run <= (_USUAL_GRACE if grace is None else grace) else 1.0


def _zero(step: GuardStep) -> None:
    """Scale to zero late, and only with min_workers 0; the first job starts a worker at once. The jobs of a
    paused queue need none."""
    settings, sample = step.settings, step.sample
    if isinstance(sample, Missing):
        return
    since, ended = step.memory.idle_since, _ended(sample)
    worked = ended != step.memory.ended  # short jobs are done between two samples, and in none of them
    jobs = sample.needing_workers
    if jobs > 0 or step.observation.unknown is not None:
        since = None
    elif since is None or worked or since > step.observation.time:
        since = step.observation.time
    if since != step.memory.idle_since or worked:
        step.memory = step.memory._replace(idle_since=since, ended=ended)
    if step.final:
        return
    if step.current == 0 and jobs > 0:
        note = "jobs without a worker: the first worker starts at once"
        step.set_workers(max(1, step.workers), "first_job", note)
        step.final = True
        return
    if step.workers > 0 or step.current == 0 or settings.min_workers > 0:
        return
    idle = 0.0 if step.memory.idle_since is None else step.observation.time - step.memory.idle_since
    if jobs > 0 or idle < settings.scale_to_zero_after_seconds:
        note = f"the last worker stays: idle for {idle:.0f} of {settings.scale_to_zero_after_seconds:g} s"
        step.set_workers(1, "not_idle_yet", note)


def _ended(sample: QueueSample) -> float | None:
    return None if sample.completed is None or sample.failed is None else sample.completed + sample.failed


def _stabilize(step: GuardStep) -> None:
    """As the HPA: down only to the highest, up only to the lowest proposal of a window."""
    settings, now, memory = step.settings, step.observation.time, step.memory
    up, down = settings.stabilization_up_seconds, settings.stabilization_down_seconds
    if isinstance(step.sample, Missing):
        return
    proposed = step.proposed
    memory = memory._replace(
        highs=_with_proposal(memory.highs, now, proposed, down, lambda old: old > proposed),
        lows=_with_proposal(memory.lows, now, proposed, up, lambda old: old < proposed),
    )
    step.memory = memory
    if step.final:
        return
    workers, most, least = step.workers, memory.highs[0][1], memory.lows[0][1]
    if workers < step.current and most > workers:
        held = min(step.current, most)
        note = f"{workers} proposed: stabilized at {held}, higher proposals within {down:g} s"
        step.set_workers(held, "stabilizing", note)
    elif workers > step.current and least < workers:
        held = max(step.current, least)
        note = f"{workers} proposed: stabilized at {held}, lower proposals within {up:g} s"
        step.set_workers(held, "stabilizing", note)


def _with_proposal(
    history: ProposalHistory, now: float, workers: int, window: float, keeps: Callable[[int], bool]
) -> ProposalHistory:
    """With the newest; without those that are too old, of another clock, or can no longer be the extreme."""
    if window <= 0:
        return ((now, workers),)
    return (
        *(entry for entry in history if now - window <= entry[0] < now and keeps(entry[1])),
        (now, workers),
    )


def _cooldown(step: GuardStep) -> None:
    cooldown = step.settings.cooldown_seconds
    cooldown = _COOLDOWN[step.settings.policy] if cooldown is None else cooldown
    since = step.memory.changed_at
    if step.final or since is None or step.workers == step.current:
        return
    passed = step.observation.time - since
    if 0 <= passed < cooldown:
        note = f"{step.workers} proposed: held at {step.current}, {passed:.0f} of {cooldown:g} s of cooldown"
        step.set_workers(step.current, "cooldown", note)


def _once(step: GuardStep) -> None:
    """A sample is acted on once: what it asked for is under way, and only the next one shows what it did."""
    if isinstance(step.sample, Missing):
        return
    acted_on = step.memory.acted_on
    step.memory = step.memory._replace(sampled=step.sample.at)
    if step.final or step.workers == step.current or acted_on != step.sample.at:
        return
    note = f"{step.workers} proposed: held at {step.current} until the next sample, this one was acted on"
    step.set_workers(step.current, "same_sample", note)


def _late(step: GuardStep) -> None:
    """Nothing is scaled in while a job waits over the SLO, except where a limit or a pause makes it wait, and
    beyond what all jobs could use: a job that nobody takes keeps one worker, not all."""
    sample, proposal, slo = step.sample, step.proposal, step.settings.wait_slo_seconds
    if step.final or proposal is None or isinstance(sample, Missing) or step.workers >= step.current:
        return
    limited = "cap_slots" in proposal.inputs
    if limited or "wait_slo_seconds" not in POLICY_OWN[step.settings.policy] or sample.runnable <= 0:
        return
    oldest = proposal.inputs.get("oldest_seconds", sample.oldest_waiting)
    usable = min(step.current, step.busy + ceil(sample.runnable / proposal.slots))
    if oldest is not None and oldest > slo and step.workers < usable:
        note = f"{step.workers} proposed: held at {usable}, a job waits {oldest:.0f} s, over {slo:g} s"
        step.set_workers(usable, "late", note)


def _limit(step: GuardStep) -> None:
    up, down = step.settings.max_step_up, step.settings.max_step_down
    if step.final:
        return
    if up is not None and step.workers > step.current + up:
        note = f"{step.workers} proposed: at most {up} more in one step"
        step.set_workers(step.current + up, "step_limit", note)
    elif down is not None and step.workers < step.current - down:
        note = f"{step.workers} proposed: at most {down} fewer in one step"
        step.set_workers(step.current - down, "step_limit", note)


def _clamp(step: GuardStep) -> None:
    """The bounds apply to every decision, but not to a hold; without metrics nothing scales in. To a maximum
    that was lowered the steps are no larger than any other, but where a person set the number."""
    least, most = step.settings.min_workers, step.settings.max_workers
    down, overridden = step.settings.max_step_down, "Overridden" in step.conditions
    if step.conditions & KEEPING:
        return
    if step.workers > most:
        step.conditions.add("AtMax")
        if "MetricsStale" in step.conditions and not overridden:
            most, down = max(most, step.current), None
            if step.workers <= most:
                return
        note = f"{step.workers} proposed: max_workers is {most}{_default(step)}"
        if down is not None and not overridden and most < step.current - down:
            most = step.current - down
            note += f", at most {down} fewer in one step"
        step.set_workers(most, "max", note)
    elif step.workers < least:
        step.set_workers(least, "min", f"{step.workers} proposed: min_workers is {least}")


def _busy(step: GuardStep) -> None:
    """Workers with a job stay, whatever was decided, unless a person decided it.

    A lowered maximum has to wait until as many jobs have ended as were in hand then: the workers of a queue
    that never runs dry always have one.
    """
    sample, most, unknown = step.sample, step.settings.max_workers, step.observation.idle_unknown
    if isinstance(sample, Missing):
        return
    if unknown and step.workers < step.current and not step.conditions & SET_BY_SOMEBODY:
        note = f"{step.workers} proposed: held at {step.current} until it is known who has a job: {unknown}"
        step.set_workers(step.current, "busy_unknown", note)
        return
    if step.current <= most:
        step.memory = step.memory._replace(over=None) if step.memory.over else step.memory
    if step.workers >= step.busy or step.conditions & SET_BY_SOMEBODY:
        return
    least = step.busy
    if step.current > most and sample.completed is not None and sample.failed is not None:
        ended = sample.completed + sample.failed
        over = step.memory.over
        if over is None or ended < over[0]:
            over = ended, sample.running(step.current * (step.proposal.slots if step.proposal else 1.0))
        step.memory = step.memory._replace(over=over)
        if ended - over[0] >= over[1]:
            least = min(least, max(most, step.workers))
    if step.workers < least:
        or_stalled = ", or one that stalled and may still run" if sample.unseen else ""
        note = f"{step.workers} proposed: {least} stay, each has a job{or_stalled}"
        step.set_workers(least, "busy", note)


def _default(step: GuardStep) -> str:
    """What to say where nobody has chosen the maximum, and jobs wait too long because of it."""
    sample, slo = step.sample, step.settings.wait_slo_seconds
    late = isinstance(sample, QueueSample) and (sample.oldest_waiting or 0.0) > slo
    if not late or "max_workers" in step.settings.model_fields_set:
        return ""
    return f", the default, and jobs wait over {slo:g} s: set it"


def _idle_seconds(step: GuardStep) -> float | None:
    since = step.memory.idle_since
    return None if isinstance(step.sample, Missing) or since is None else step.observation.time - since


STAGES: Final[tuple[Stage, ...]] = (
    *HOLDS,
    _zero,
    _stabilize,
    _cooldown,
    _once,
    _late,
    _limit,
    _clamp,
    _busy,
)


def apply_guards(
    settings: PolicySettings,
    observation: Observation,
    proposal: Proposal | None,
    control: Control,
    memory: GuardMemory,
    *,
    doubt: Missing | None = None,
    sample: QueueSample | Missing | None = None,
) -> tuple[Decision, GuardMemory]:
    """The decision, and the next memory. There is a proposal if `fresh_sample` returned a sample, `sample` if
    that is known; `doubt`: why that one waits for the next sample all the same."""
    sample = doubt or sample or fresh_sample(settings, observation, memory)
    proposed = observation.workers if proposal is None else proposal.workers
    reason = "metrics_missing" if proposal is None else proposal.reason
    busy = _busy_workers(settings, observation, sample, proposal)
    step = GuardStep(
        settings,
        observation,
        sample,
        control,
        memory,
        proposal,
        proposed,
        reason,
        busy,
        doubted=doubt is not None,
    )
    for stage in STAGES:
        stage(step)
    if step.workers > 0 or (isinstance(sample, QueueSample) and sample.waiting + sample.active > 0):
        step.conditions.add("Active")
    sentence = "; ".join(([proposal.sentence] if proposal else []) + step.notes)
    decision = Decision(
        workers=step.workers,
        proposed=None if proposal is None else proposal.workers,
        reason=step.reason,
        sentence=sentence,
        inputs=proposal.inputs if proposal else {},
        notes=tuple(step.notes),
        conditions=frozenset(step.conditions),
        busy=step.current if isinstance(sample, Missing) else step.busy,
        idle_seconds=_idle_seconds(step),
    )
    return decision, step.memory
