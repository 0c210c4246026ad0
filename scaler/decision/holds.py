"""What holds a number of workers, or sets it, whatever the policy proposes: HOLDS, the first guards. Pure.

Missing metrics, a mode, another controller, a pause, a workload that rests, an override: by whom or for what,
each says in a note. Later guards shape what these leave open: see scaler.decision.guards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from scaler.config.settings import PolicySettings
from scaler.decision.belief import is_doubted, jobs_of
from scaler.decision.memory import GuardMemory
from scaler.decision.rest import Zero
from scaler.model import Condition, Control, Missing, Observation, Proposal, QueueSample

_HOLDING: Final[frozenset[Condition]] = frozenset(
    {"Paused", "Contested", "Advising"}  # not even the bounds change it
)
_OTHERS: Final[frozenset[Condition]] = frozenset({"Contested", "Advising"})  # another one sets the number
KEEPING: Final[frozenset[Condition]] = _HOLDING | {"Resting"}
"""With these the bounds do not apply."""
SET_BY_SOMEBODY: Final[frozenset[Condition]] = _HOLDING | {"Overridden"}
"""With these workers that have a job may go."""


@dataclass(slots=True)
class GuardStep:
    """The decision as the stages left it so far, and the next `memory`. `busy` workers have a job; `doubted`:
    the sample waits for the next one, which has to confirm it."""

    settings: PolicySettings
    observation: Observation
    sample: QueueSample | Missing
    control: Control
    memory: GuardMemory
    proposal: Proposal | None
    workers: int
    reason: str
    busy: int
    doubted: bool = False
    notes: list[str] = field(default_factory=list)
    conditions: set[Condition] = field(default_factory=set)
    final: bool = False  # nothing but the bounds may change it any more

    @property
    def current(self) -> int:
        return self.observation.workers

    @property
    def proposed(self) -> int:
        """By the policy; without metrics as many as there are."""
        return self.current if self.proposal is None else self.proposal.workers

    def hold(self, reason: str, note: str) -> None:
        """Keep the current number; later stages do not change it."""
        self.set_workers(self.current, reason, note)
        self.final = True

    def set_workers(self, workers: int, reason: str, note: str) -> None:
        if workers != self.workers:
            self.workers, self.reason = workers, reason
        self.notes.append(note)


Stage: TypeAlias = Callable[[GuardStep], None]


def _stale(step: GuardStep) -> None:
    """Missing metrics are not zero: hold, or scale out to the fallback; never scale in. What is known beside
    them is a lower bound, on which to scale out."""
    sample = step.observation.sample
    unknown = step.sample if isinstance(step.sample, Missing) else step.observation.unknown
    if isinstance(step.sample, QueueSample):
        jobs = jobs_of(step.sample)
        if (step.memory.doubted, step.memory.jobs) != (None, jobs):
            step.memory = step.memory._replace(doubted=None, jobs=jobs)
    if unknown is None:
        step.memory = step.memory._replace(failures=0) if step.memory.failures else step.memory
        return
    failures = step.memory.failures + 1
    step.memory = step.memory._replace(failures=failures)
    if isinstance(step.sample, Missing) and isinstance(sample, QueueSample) and _is_doubted(step):
        step.memory = step.memory._replace(doubted=sample.at)
    step.conditions.add("MetricsStale")
    if isinstance(step.sample, Missing):
        step.hold("metrics_missing", f"held at {step.current}: {unknown.message}")
        step.reason = "metrics_missing"
    elif step.workers < step.current:
        note = f"{step.workers} proposed: held at {step.current}, as not all is known: {unknown.message}"
        step.set_workers(step.current, "metrics_missing", note)
    else:
        step.notes.append(f"at least {step.workers}, as not all is known: {unknown.message}")
    fallback = step.settings.fallback_workers
    if fallback is not None and failures >= step.settings.fallback_after_failures and fallback > step.workers:
        note = f"{failures} steps without metrics: fallback to {fallback} workers"
        step.set_workers(fallback, "fallback", note)
        step.final = True


def _is_doubted(step: GuardStep) -> bool:
    return step.doubted or is_doubted(step.settings, step.observation, step.memory)


def _contested(step: GuardStep) -> None:
    """Two controllers of one workload would fight for ever: on a conflict this one holds."""
    if step.observation.contested is not None and step.settings.mode != "advise":
        step.conditions.add("Contested")
        step.hold("contested", f"held at {step.current}: {step.observation.contested}")
        step.reason = "contested"


def _advising(step: GuardStep) -> None:
    """Where another one sets the number it is what it is, and nobody's fight."""
    if step.settings.mode == "advise":
        step.conditions.add("Advising")
        step.hold("advising", f"mode is advise: held at {step.current}")
        step.reason = "advising"


def _paused(step: GuardStep) -> None:
    if step.control.paused:
        step.conditions.add("Paused")
        step.hold("paused", f"paused: held at {step.current}")
    elif not step.settings.enabled:
        step.conditions.add("Paused")
        step.hold("disabled", f"enabled is false: held at {step.current}")


def _wants_zero(step: GuardStep) -> bool:
    """Whether this scaler would have set 0 at the step before."""
    since, override = step.memory.idle_since, step.control.override
    if override is not None:
        return override.workers == 0
    late = since is not None and step.observation.time - since >= step.settings.scale_to_zero_after_seconds
    return late and step.settings.min_workers == 0


def _resting(step: GuardStep) -> None:
    """As the HPA: a workload that somebody set to 0 stays there until somebody sets it otherwise."""
    observation, memory, settings = step.observation, step.memory, step.settings
    if observation.shared:
        resting = False
        if step.current == 0 and not step.conditions & _OTHERS:  # an autoscaler's zero is not a person's
            zero = Zero(memory.workers, memory.resting, observation.applied, _wants_zero(step))
            resting = zero.rests(settings.min_workers)
        step.memory = memory = memory._replace(workers=step.current, resting=resting)
    if memory.resting and step.current == 0 and not step.conditions & _HOLDING:
        step.conditions.add("Resting")
        step.hold("resting", "rests at 0, as somebody set it, until it is set to 1 or more or overridden")
        step.reason = "resting"


def _override(step: GuardStep) -> None:
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


HOLDS: Final[tuple[Stage, ...]] = (
    _stale,
    _advising,
    _contested,
    _paused,
    _resting,
    _override,
)
