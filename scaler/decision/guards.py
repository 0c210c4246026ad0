"""What stands between a policy's wish and the target: STAGES, each of which may change the number.

Pure. The memory is a value that can be saved; time is the observation's. A stage sees the number as those
before it left it, and notes what it did; the bounds come last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, TypeAlias

from pydantic import TypeAdapter, ValidationError

from scaler.model import Condition, Control, Decision, Missing, Observation, Proposal, QueueSample
from scaler.settings import PolicySettings

_COOLDOWN: Final = {"threshold": 300.0, "wait_target": 0.0}
_HOLDING: Final[frozenset[Condition]] = frozenset({"Paused", "Contested"})  # not even the bounds change it
_AHEAD_SECONDS: Final = 10.0  # a sample may be from so far in the future: clocks differ

Wishes: TypeAlias = tuple[tuple[float, int], ...]
"""Times, ascending, and the workers that were wanted then."""


@dataclass(frozen=True, slots=True)
class GuardMemory:
    """`changed_at`: the last change that was applied; `highs` and `lows`: wishes that can still be the most
    or the least of their window; `failures`: steps in a row without metrics; `idle_since`: no job since."""

    changed_at: float | None = None
    highs: Wishes = ()
    lows: Wishes = ()
    failures: int = 0
    idle_since: float | None = None


_MEMORY: Final = TypeAdapter(GuardMemory)


def dump_guards(memory: GuardMemory) -> dict[str, Any]:
    """The memory as JSON data."""
    return asdict(memory)


def load_guards(data: Mapping[str, Any]) -> GuardMemory:
    """The memory of such data. Raises ValueError for what `dump_guards` never wrote."""
    try:
        return _MEMORY.validate_python(data)
    except ValidationError:
        raise ValueError("not what the guards remembered") from None


def changed(memory: GuardMemory, at: float) -> GuardMemory:
    """The number of workers was changed: the cooldown begins."""
    return replace(memory, changed_at=at)


def fresh(settings: PolicySettings, seen: Observation) -> QueueSample | Missing:
    """The sample, if it is young enough to decide by; time may have gone backwards."""
    sample = seen.sample
    if isinstance(sample, Missing):
        return sample
    age = seen.time - sample.at
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
    """One decision in the making."""

    settings: PolicySettings
    seen: Observation
    sample: QueueSample | Missing
    control: Control
    memory: GuardMemory
    wish: int  # the policy's
    workers: int
    reason: str
    notes: list[str] = field(default_factory=list)
    conditions: set[Condition] = field(default_factory=set)
    final: bool = False  # nothing but the bounds may change it any more

    @property
    def current(self) -> int:
        return self.seen.workers

    def hold(self, reason: str, note: str) -> None:
        """As it is, and not to be changed by later stages."""
        self.put(self.current, reason, note)
        self.final = True

    def put(self, workers: int, reason: str, note: str) -> None:
        if workers != self.workers:
            self.workers, self.reason = workers, reason
        self.notes.append(note)


def _stale(step: _Step) -> None:
    """Absence is not zero: hold, or go up to the fallback; never in."""
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
        step.put(fallback, "fallback", f"{failures} steps without metrics: at least {fallback} workers")


def _contested(step: _Step) -> None:
    """Two that set one number fight for ever: the one that notices lets go."""
    if step.seen.contested is not None:
        step.conditions.add("Contested")
        step.hold("contested", f"held at {step.current}: {step.seen.contested}")
        step.reason = "contested"


def _paused(step: _Step) -> None:
    if step.control.paused:
        step.conditions.add("Paused")
        step.hold("paused", f"paused: held at {step.current}")
    elif not step.settings.enabled:
        step.conditions.add("Paused")
        step.hold("disabled", f"enabled is false: held at {step.current}")


def _override(step: _Step) -> None:
    """A person's number, whatever the metrics say; a pause is the stronger word, and so is a rival."""
    override = step.control.override
    if override is None or step.conditions & _HOLDING:
        return
    step.conditions.add("Overridden")
    step.put(override.workers, "override", f"{override.workers} by {override.by}: {override.reason}")
    step.reason = "override"
    step.final = True


def _zero(step: _Step) -> None:
    """The last worker goes late and only where that is asked for; the first job brings one at once."""
    settings, sample = step.settings, step.sample
    if isinstance(sample, Missing):
        return
    since = step.memory.idle_since
    jobs = sample.waiting + sample.active + (sample.due or 0.0)
    if jobs > 0:
        step.memory = replace(step.memory, idle_since=None) if since is not None else step.memory
    elif since is None or since > step.seen.time:
        step.memory = replace(step.memory, idle_since=step.seen.time)
    if step.final:
        return
    if step.current == 0 and jobs > 0:
        step.put(max(1, step.workers), "first_job", "jobs, and no worker: the first one comes at once")
        step.final = True
        return
    if step.workers > 0 or step.current == 0 or settings.min_workers > 0:
        return
    idle = 0.0 if step.memory.idle_since is None else step.seen.time - step.memory.idle_since
    if jobs > 0 or idle < settings.scale_to_zero_after_seconds:
        note = f"the last worker stays: idle for {idle:.0f} of {settings.scale_to_zero_after_seconds:g} s"
        step.put(1, "not_idle_yet", note)


def _stabilize(step: _Step) -> None:
    """As the HPA: down only to the most, up only to the least that was wanted within a window."""
    settings, now, memory = step.settings, step.seen.time, step.memory
    up, down = settings.stabilization_up_seconds, settings.stabilization_down_seconds
    if isinstance(step.sample, Missing):
        return
    said = step.wish
    memory = replace(
        memory,
        highs=_with(memory.highs, now, said, down, lambda old: old > said),
        lows=_with(memory.lows, now, said, up, lambda old: old < said),
    )
    step.memory = memory
    if step.final:
        return
    wish, most, least = step.workers, memory.highs[0][1], memory.lows[0][1]
    if wish < step.current and most > wish:
        held = min(step.current, most)
        step.put(held, "stabilizing", f"{wish} would do: {held} were wanted within {down:g} s")
    elif wish > step.current and least < wish:
        held = max(step.current, least)
        step.put(held, "stabilizing", f"{wish} are wanted: only {held} all through {up:g} s")


def _with(wishes: Wishes, now: float, wish: int, window: float, counts: Callable[[int], bool]) -> Wishes:
    """With the newest; without those too old, of another clock, or that it outdoes for good."""
    return (*(one for one in wishes if now - window <= one[0] < now and counts(one[1])), (now, wish))


def _cooldown(step: _Step) -> None:
    cooldown = step.settings.cooldown_seconds
    cooldown = _COOLDOWN[step.settings.policy] if cooldown is None else cooldown
    since = step.memory.changed_at
    if step.final or since is None or step.workers == step.current:
        return
    passed = step.seen.time - since
    if 0 <= passed < cooldown:
        note = (
            f"{step.workers} are wanted: held at {step.current}, {passed:.0f} of {cooldown:g} s of cooldown"
        )
        step.put(step.current, "cooldown", note)


def _limit(step: _Step) -> None:
    up, down = step.settings.max_step_up, step.settings.max_step_down
    if step.final:
        return
    if up is not None and step.workers > step.current + up:
        step.put(step.current + up, "step_limit", f"{step.workers} are wanted: {up} more in one step")
    elif down is not None and step.workers < step.current - down:
        step.put(step.current - down, "step_limit", f"{step.workers} would do: {down} fewer in one step")


def _clamp(step: _Step) -> None:
    """The bounds hold for every decision; a hold is none, and without metrics nothing goes down."""
    least, most = step.settings.min_workers, step.settings.max_workers
    if step.conditions & _HOLDING:
        return
    if step.workers > most:
        step.conditions.add("AtMax")
        if "MetricsStale" not in step.conditions or "Overridden" in step.conditions:
            step.put(most, "max", f"{step.workers} are wanted: {most} is the most")
    elif step.workers < least:
        step.put(least, "min", f"{step.workers} would do: {least} is the least")


STAGES: Final[tuple[Callable[[_Step], None], ...]] = (
    _stale,
    _contested,
    _paused,
    _override,
    _zero,
    _stabilize,
    _cooldown,
    _limit,
    _clamp,
)


def guard(
    settings: PolicySettings,
    seen: Observation,
    proposal: Proposal | None,
    control: Control,
    memory: GuardMemory,
) -> tuple[Decision, GuardMemory]:
    """The decision, and what to remember. There is a proposal where `fresh` left a sample."""
    sample = fresh(settings, seen)
    wish = seen.workers if proposal is None else proposal.workers
    reason = "metrics_missing" if proposal is None else proposal.reason
    step = _Step(settings, seen, sample, control, memory, wish, wish, reason)
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
