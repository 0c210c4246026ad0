"""Guards between a policy's proposal and the target: STAGES, each of which may change the number.

Pure. The memory is a value that can be saved; time is the observation's. A stage gets the number that the
stages before it left, and adds a note of what it changed; the bounds come last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, TypeAlias

from pydantic import TypeAdapter, ValidationError

from scaler.config.settings import PolicySettings
from scaler.decision.rest import Zero
from scaler.model import Condition, Control, Decision, Missing, Observation, Proposal, QueueSample

_COOLDOWN: Final = {"threshold": 300.0, "wait_target": 0.0}
_HOLDING: Final[frozenset[Condition]] = frozenset({"Paused", "Contested"})  # not even the bounds change it
_AHEAD_SECONDS: Final = 10.0  # a sample may be up to this far ahead: clocks differ

ProposalHistory: TypeAlias = tuple[tuple[float, int], ...]
"""Times, ascending, and the workers that were proposed then."""


@dataclass(frozen=True, slots=True)
class GuardMemory:
    """`changed_at`: the last change that was applied; `highs` and `lows`: proposals that can still be the
    highest or the lowest of their window; `failures`: steps in a row without metrics; `idle_since`: no job
    since; `workers`: their number at the last step, of a target whose number others may set; `resting`: it is
    left at 0."""

    changed_at: float | None = None
    highs: ProposalHistory = ()
    lows: ProposalHistory = ()
    failures: int = 0
    idle_since: float | None = None
    workers: int | None = None
    resting: bool = False


_MEMORY: Final = TypeAdapter(GuardMemory)


def dump_guards(memory: GuardMemory) -> dict[str, Any]:
    """The memory as JSON data."""
    return asdict(memory)


def load_guards(data: Mapping[str, Any]) -> GuardMemory:
    """The memory from its JSON data. Raises ValueError for data that `dump_guards` did not write."""
    try:
        return _MEMORY.validate_python(data)
    except ValidationError:
        raise ValueError("invalid memory of the guards") from None


def record_change(memory: GuardMemory, at: float, workers: int | None = None) -> GuardMemory:
    """The memory after the number of workers was changed: the cooldown begins. `workers`: the number that
    this scaler has set."""
    return replace(memory, changed_at=at, workers=memory.workers if workers is None else workers)


def fresh_sample(settings: PolicySettings, observation: Observation) -> QueueSample | Missing:
    """The sample; Missing if it is too old to decide on, or in the future: time may have gone backwards."""
    sample = observation.sample
    if isinstance(sample, Missing):
        return sample
    age = observation.time - sample.at
    if age > settings.metrics_max_age_seconds:
        return Missing(
            "stale", f"the metrics are {age:.0f} s old, over {settings.metrics_max_age_seconds:g} s"
        )
    if age < -_AHEAD_SECONDS:
        return Missing("stale", f"the metrics are {-age:.0f} s ahead: the clocks of the machines differ")
    return sample


# --- stages ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Step:
    """The decision as the stages left it so far."""

    settings: PolicySettings
    observation: Observation
    sample: QueueSample | Missing
    control: Control
    memory: GuardMemory
    proposed: int  # by the policy
    workers: int
    reason: str
    notes: list[str] = field(default_factory=list)
    conditions: set[Condition] = field(default_factory=set)
    final: bool = False  # nothing but the bounds may change it any more

    @property
    def current(self) -> int:
        return self.observation.workers

    def hold(self, reason: str, note: str) -> None:
        """Keep the current number; later stages do not change it."""
        self.set_workers(self.current, reason, note)
        self.final = True

    def set_workers(self, workers: int, reason: str, note: str) -> None:
        if workers != self.workers:
            self.workers, self.reason = workers, reason
        self.notes.append(note)


def _stale(step: _Step) -> None:
    """Missing metrics are not zero: hold, or scale out to the fallback; never scale in."""
    if not isinstance(step.sample, Missing):
        step.memory = replace(step.memory, failures=0) if step.memory.failures else step.memory
        return
    failures = step.memory.failures + 1
    step.memory = replace(step.memory, failures=failures)
    step.conditions.add("MetricsStale")
    step.hold("metrics_missing", f"held at {step.current}: {step.sample.message}")
    step.reason = "metrics_missing"
    fallback = step.settings.fallback_workers
    if fallback is not None and failures >= step.settings.fallback_after_failures and fallback > step.current:
        note = f"{failures} steps without metrics: fallback to {fallback} workers"
        step.set_workers(fallback, "fallback", note)


def _contested(step: _Step) -> None:
    """Two controllers of one workload would fight for ever: on a conflict this one holds."""
    if step.observation.contested is not None:
        step.conditions.add("Contested")
        step.hold("contested", f"held at {step.current}: {step.observation.contested}")
        step.reason = "contested"


def _paused(step: _Step) -> None:
    if step.control.paused:
        step.conditions.add("Paused")
        step.hold("paused", f"paused: held at {step.current}")
    elif not step.settings.enabled:
        step.conditions.add("Paused")
        step.hold("disabled", f"enabled is false: held at {step.current}")


def _wants_zero(step: _Step) -> bool:
    """Whether this scaler would have set 0 at the step before."""
    since, override = step.memory.idle_since, step.control.override
    if override is not None:
        return override.workers == 0
    late = since is not None and step.observation.time - since >= step.settings.scale_to_zero_after_seconds
    return late and step.settings.min_workers == 0


def _resting(step: _Step) -> None:
    """As the HPA: a workload that somebody set to 0 stays there until somebody sets it otherwise."""
    observation, memory, settings = step.observation, step.memory, step.settings
    if observation.shared:
        resting = False
        if step.current == 0 and "Contested" not in step.conditions:  # an autoscaler's zero is not a person's
            zero = Zero(memory.workers, memory.resting, observation.applied, _wants_zero(step))
            resting = zero.rests(settings.min_workers)
        step.memory = memory = replace(memory, workers=step.current, resting=resting)
    if memory.resting and step.current == 0 and not step.conditions & _HOLDING:
        step.conditions.add("Resting")
        step.hold("resting", "rests at 0, as somebody set it, until it is set to 1 or more or overridden")
        step.reason = "resting"


def _override(step: _Step) -> None:
    """The override, whatever the metrics say; a pause or a conflict takes precedence."""
    override = step.control.override
    if override is None or step.conditions & _HOLDING:
        return
    step.conditions.discard("Resting")
    step.conditions.add("Overridden")
    note = f"override of {override.workers} by {override.by}: {override.reason}"
    step.set_workers(override.workers, "override", note)
    step.reason = "override"
    step.final = True


def _zero(step: _Step) -> None:
    """Scale to zero late, and only with min_workers 0; the first job starts a worker at once."""
    settings, sample = step.settings, step.sample
    if isinstance(sample, Missing):
        return
    since = step.memory.idle_since
    jobs = sample.waiting + sample.active + (sample.due or 0.0)
    if jobs > 0:
        step.memory = replace(step.memory, idle_since=None) if since is not None else step.memory
    elif since is None or since > step.observation.time:
        step.memory = replace(step.memory, idle_since=step.observation.time)
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


def _stabilize(step: _Step) -> None:
    """As the HPA: down only to the highest, up only to the lowest proposal of a window."""
    settings, now, memory = step.settings, step.observation.time, step.memory
    up, down = settings.stabilization_up_seconds, settings.stabilization_down_seconds
    if isinstance(step.sample, Missing):
        return
    proposed = step.proposed
    memory = replace(
        memory,
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
    return (
        *(entry for entry in history if now - window <= entry[0] < now and keeps(entry[1])),
        (now, workers),
    )


def _cooldown(step: _Step) -> None:
    cooldown = step.settings.cooldown_seconds
    cooldown = _COOLDOWN[step.settings.policy] if cooldown is None else cooldown
    since = step.memory.changed_at
    if step.final or since is None or step.workers == step.current:
        return
    passed = step.observation.time - since
    if 0 <= passed < cooldown:
        note = f"{step.workers} proposed: held at {step.current}, {passed:.0f} of {cooldown:g} s of cooldown"
        step.set_workers(step.current, "cooldown", note)


def _limit(step: _Step) -> None:
    up, down = step.settings.max_step_up, step.settings.max_step_down
    if step.final:
        return
    if up is not None and step.workers > step.current + up:
        note = f"{step.workers} proposed: at most {up} more in one step"
        step.set_workers(step.current + up, "step_limit", note)
    elif down is not None and step.workers < step.current - down:
        note = f"{step.workers} proposed: at most {down} fewer in one step"
        step.set_workers(step.current - down, "step_limit", note)


def _clamp(step: _Step) -> None:
    """The bounds apply to every decision, but not to a hold; without metrics nothing scales in."""
    least, most = step.settings.min_workers, step.settings.max_workers
    if step.conditions & (_HOLDING | {"Resting"}):
        return
    if step.workers > most:
        step.conditions.add("AtMax")
        if "MetricsStale" not in step.conditions or "Overridden" in step.conditions:
            step.set_workers(most, "max", f"{step.workers} proposed: max_workers is {most}{_default(step)}")
    elif step.workers < least:
        step.set_workers(least, "min", f"{step.workers} proposed: min_workers is {least}")


def _default(step: _Step) -> str:
    """What to say where nobody has chosen the maximum, and jobs wait too long because of it."""
    sample, slo = step.sample, step.settings.wait_slo_seconds
    late = isinstance(sample, QueueSample) and (sample.oldest_waiting or 0.0) > slo
    if not late or "max_workers" in step.settings.model_fields_set:
        return ""
    return f", the default, and jobs wait over {slo:g} s: set it"


STAGES: Final[tuple[Callable[[_Step], None], ...]] = (
    _stale,
    _contested,
    _paused,
    _resting,
    _override,
    _zero,
    _stabilize,
    _cooldown,
    _limit,
    _clamp,
)


def apply_guards(
    settings: PolicySettings,
    observation: Observation,
    proposal: Proposal | None,
    control: Control,
    memory: GuardMemory,
) -> tuple[Decision, GuardMemory]:
    """The decision, and the next memory. There is a proposal if `fresh_sample` returned a sample."""
    sample = fresh_sample(settings, observation)
    proposed = observation.workers if proposal is None else proposal.workers
    reason = "metrics_missing" if proposal is None else proposal.reason
    step = _Step(settings, observation, sample, control, memory, proposed, proposed, reason)
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
    )
    return decision, step.memory
