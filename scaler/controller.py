"""Observe, decide, act, publish: one step over all targets. The only place that changes anything.

What cannot be read is no decision for that target alone; the others go on. Nothing is acted on in a dry run,
while scaling is switched off, or while another process leads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, Protocol

from scaler.decision.step import TargetMemory, record_scaling, step
from scaler.model import Applied, Control, Missing, NotApplied, Observation, QueueSample, Workers
from scaler.settings import PolicySettings
from scaler.step_result import StepCounters, StepResult, TargetStep
from scaler.targets.base import Target
from service.clock import Deadline, monotonic, now
from service.outcome import Failed, Ok, Outcome

log = logging.getLogger(__name__)

_ACT_SECONDS: Final = 10.0
_AT_ONCE: Final = 8


@dataclass(frozen=True)
class Managed:
    """A target before a step: its name, the settings of its policy, and what carries its workers."""

    name: str
    settings: PolicySettings
    target: Target


@dataclass(frozen=True)
class TargetMetrics:
    """What was seen of a target's queues, which are named as they were found."""

    queues: tuple[str, ...]
    sample: QueueSample | Missing


class MetricsSource(Protocol):
    """Where samples come from."""

    def look(self, deadline: Deadline) -> Mapping[str, TargetMetrics]:
        """What is seen of each target, by its name. Never raises."""


class LiveState(Protocol):
    """What people have ordered, and what has to survive a restart."""

    def control(self, target: str, at: float) -> Control:
        """What people have ordered for the target; overrides that have run out by `at` are gone."""

    def recall(self, target: str) -> TargetMemory | None:
        """What was learned before the start; None for nothing that can be used."""

    def record_action(self, target: str, at: float, old: int, new: int, reason: str) -> None:
        """The number of workers was changed."""

    def save(self, memories: Mapping[str, TargetMemory]) -> None:
        """Keep what was learned. Never raises."""


class Controller:
    """Holds what was learned of each target. `step` is for one thread; `last` may be read by all."""

    def __init__(self, state: LiveState, *, leading: Callable[[], bool] = lambda: True) -> None:
        self._state = state
        self._leading = leading
        self._memories: dict[str, TargetMemory | None] = {}
        self._told: dict[str, str] = {}
        self._asked: dict[str, int] = {}
        self.counters = StepCounters()
        self.last: StepResult | None = None

    def step(
        self,
        metrics: MetricsSource,
        managed: Iterable[Managed],
        interval: float,
        *,
        enabled: bool = True,
        dry_run: bool = False,
    ) -> StepResult:
        """Once through all targets; what was found and done is also kept as `last`."""
        targets = list(managed)
        begun, time = monotonic(), now()
        deadline = Deadline.after(max(1.0, interval))
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="target") as pool:
            lanes = [pool.submit(_read, targets[lane::_AT_ONCE], deadline) for lane in range(_AT_ONCE)]
            metrics_by_target = metrics.look(deadline)
            reads = {name: read for lane in lanes for name, read in lane.result().items()}
            leading = self._leading()
            if not leading:
                self._follow(reads, time)
            decided = [
                self._decide(one, reads[one.name], metrics_by_target[one.name], interval, time)
                for one in targets
            ]
            if enabled and leading and not dry_run:
                by_name = {one.name: one.target for one in targets}
                doing = {
                    one.name: pool.submit(_act, by_name[one.name], one) for one in decided if changes(one)
                }
                decided = [
                    self._acted(one, doing[one.name].result()) if one.name in doing else one
                    for one in decided
                ]
        names = {one.name for one in targets}
        self._memories = {name: one for name, one in self._memories.items() if name in names}
        self._tell(decided, acting=enabled and leading and not dry_run)
        took = monotonic() - begun
        result = StepResult(time, took, tuple(decided), leading=leading, enabled=enabled, dry_run=dry_run)
        self.counters.count(result)
        self.last = result
        if leading:
            self._state.save(self.memories)
        return result

    @property
    def memories(self) -> dict[str, TargetMemory]:
        """What was learned of each target."""
        return {name: memory for name, memory in self._memories.items() if memory is not None}

    def _follow(self, reads: Mapping[str, Outcome[Workers]], time: float) -> None:
        """While another acts, its changes count for our cooldowns: we may lead in the next step."""
        for name, read in reads.items():
            if not isinstance(read, Ok):
                continue
            before, self._asked[name] = self._asked.get(name), read.value.requested
            memory = self._memories.get(name)
            if memory is not None and before is not None and before != read.value.requested:
                self._memories[name] = record_scaling(memory, time)

    def _decide(
        self,
        one: Managed,
        read: Outcome[Workers],
        metrics: TargetMetrics,
        interval: float,
        time: float,
    ) -> TargetStep:
        control, sample = self._state.control(one.name, time), metrics.sample
        found = TargetStep(one.name, metrics.queues, one.settings, time, read, sample, control)
        if isinstance(read, Failed):
            return found
        if one.name not in self._memories:
            self._memories[one.name] = self._state.recall(one.name)
        workers = read.value
        seen = Observation(
            time, workers.requested, workers.ready, sample, workers.start_seconds, workers.contested
        )
        decision, self._memories[one.name] = step(
            one.settings, interval, seen, control, self._memories[one.name]
        )
        return replace(found, decision=decision)

    def _acted(self, one: TargetStep, result: Applied | NotApplied) -> TargetStep:
        if isinstance(result, Applied):
            old, new, why = _change(one)
            memory = self._memories[one.name]
            if memory is not None:
                self._memories[one.name] = record_scaling(memory, one.time)
            self._state.record_action(one.name, one.time, old, new, why)
        return replace(one, acted=result)

    # --- what is told ------------------------------------------------------------------------------------

    def _tell(self, steps: Sequence[TargetStep], *, acting: bool) -> None:
        """A line for each change, and for each state of a target that is new."""
        for one in steps:
            state = _trouble(one)
            if state != self._told.get(one.name, ""):
                level = logging.WARNING if state else logging.INFO
                event = "target in trouble" if state else "target is well again"
                log.log(level, event, extra={"target": one.name, "why": state or None})
                self._told[one.name] = state
            if changes(one) and (isinstance(one.acted, Applied) or not acting):
                old, new, why = _change(one)
                event = "scaled" if isinstance(one.acted, Applied) else "would scale"
                log.info(event, extra=_facts(one, old, new, why))
        self._told = {one.name: self._told.get(one.name, "") for one in steps}


def _read(targets: Sequence[Managed], deadline: Deadline) -> dict[str, Outcome[Workers]]:
    """One after the other: a thread for each of a thousand would cost more than the reading."""
    return {one.name: one.target.read(deadline) for one in targets}


def changes(one: TargetStep) -> bool:
    """Whether the decision is another number than the target has."""
    return (
        one.decision is not None
        and isinstance(one.workers, Ok)
        and one.decision.workers != one.workers.value.requested
    )


def _change(one: TargetStep) -> tuple[int, int, str]:
    if one.decision is None or isinstance(one.workers, Failed):
        raise ValueError(f"{one.name} was not decided on")
    return one.workers.value.requested, one.decision.workers, one.decision.reason


def _act(target: Target, one: TargetStep) -> Applied | NotApplied:
    old, new, _ = _change(one)
    return target.scale(old, new, Deadline.after(_ACT_SECONDS))


def _trouble(one: TargetStep) -> str:
    if isinstance(one.workers, Failed):
        return one.workers.message
    if isinstance(one.acted, NotApplied):
        return one.acted.message
    return one.sample.message if isinstance(one.sample, Missing) else ""


def _facts(one: TargetStep, old: int, new: int, why: str) -> dict[str, object]:
    decision = one.decision
    figures = {name: round(value, 4) for name, value in decision.inputs.items()} if decision else {}
    return {
        **figures,
        "target": one.name,
        "queues": ",".join(one.queues),
        "from": old,
        "to": new,
        "reason": why,
        "because": decision.sentence if decision else "",
    }
