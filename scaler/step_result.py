"""The result of one step of the controller, target by target: the source of metrics, commands and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from scaler.activity import Activity
from scaler.config.settings import PolicySettings
from scaler.decision.capacity import Demand, share
from scaler.decision.load_factor import target_load_factor
from scaler.model import (
    Applied,
    Condition,
    Control,
    Decision,
    Missing,
    NotApplied,
    QueueSample,
    RunTimeP99,
    Workers,
)
from service.outcome import Failed, Ok, Outcome
from service.units import plain

_FIXED: Final[frozenset[Condition]] = frozenset(
    {"Overridden", "Paused", "Contested", "Resting", "MetricsStale", "Advising"}
)

_NONE: Final[frozenset[Condition]] = frozenset()
_CONDITIONS: Final[Mapping[str, Condition]] = {"not_found": "TargetNotFound", "forbidden": "Forbidden"}
"""By the kind of an error."""

_MODES: Final[Mapping[str, Condition]] = {"advise": "Advising", "shadow": "Shadowing"}
"""By the mode of a target, which it has whether it can be read or not."""


class TargetStep(NamedTuple):
    """One target in one step. Without a decision, its workers could not be read. `since`: when each of its
    conditions began (unix s); `run_p99`: how long the slowest jobs of the last hour ran (None: not known);
    `excess`: the jobs that each worker ran for minutes, more than it is set to (None: no more);
    `policy_problem`: why what was changed of its policy is not in force (empty: it is)."""

    name: str
    queues: tuple[str, ...]
    settings: PolicySettings
    time: float
    workers: Outcome[Workers]
    sample: QueueSample | Missing
    control: Control
    decision: Decision | None = None
    acted: Applied | NotApplied | None = None
    activity: Activity | None = None
    unknown: Missing | None = None
    run_p99: RunTimeP99 | None = None
    excess: float | None = None
    policy_problem: str = ""
    since: Mapping[Condition, float] = MappingProxyType({})

    @property
    def desired(self) -> int | None:
        """The number that was decided, whether it was applied or not."""
        return self.decision.workers if self.decision else None

    @property
    def change(self) -> tuple[int, int, str]:
        """From how many workers to how many, and the reason, also where they are as many. Raises ValueError
        without a decision."""
        if self.decision is None or isinstance(self.workers, Failed):
            raise ValueError(f"{self.name} has no decision")
        return self.workers.value.requested, self.decision.workers, self.decision.reason

    @property
    def changes(self) -> bool:
        """Whether the decision differs from the requested number of workers."""
        if self.decision is None or isinstance(self.workers, Failed):
            return False
        return self.decision.workers != self.workers.value.requested

    @property
    def recommended(self) -> int | None:
        """The policy's number within the bounds, also where something else decides: a pause, an override,
        another autoscaler. None where the policy proposed nothing."""
        if self.decision is None or self.decision.proposed is None:
            return None
        return max(self.settings.min_workers, min(self.settings.max_workers, self.decision.proposed))

    @property
    def run_seconds(self) -> float | None:
        """Mean run time of the attempts that ended lately, else of all that the counters know. None: none is
        known. What the policy reckons is no measure: it counts the time of jobs that still run."""
        lately = self.activity.processing_seconds if self.activity else None
        if lately is not None or isinstance(self.sample, Missing) or self.sample.duration_sum is None:
            return lately
        count = self.sample.duration_count
        return self.sample.duration_sum / count if count else None

    @property
    def grace_seconds(self) -> float | None:
        """What a worker has to finish its jobs when it is removed; None: not known."""
        return self.workers.value.grace_seconds if isinstance(self.workers, Ok) else None

    @property
    def may_outlast_grace(self) -> bool:
        """Whether a job may run longer than a worker that is removed has to finish it, as far as is known: by
        those that ended, the slowest too, and by those that still run."""
        grace, ended = self.grace_seconds, self.long_run_seconds
        known = self.decision.inputs.get("service_seconds") if self.decision else None
        return grace is None or ended is None or max(ended, known or 0.0) > grace

    @property
    def conditions(self) -> frozenset[Condition]:
        """The decision's conditions, and those of errors of the target and of its metrics."""
        decided = self.decision.conditions if self.decision else _NONE
        kinds = [
            failed.kind for failed in (self.workers, self.acted) if isinstance(failed, Failed | NotApplied)
        ]
        more: list[Condition] = [_CONDITIONS[kind] for kind in kinds if kind in _CONDITIONS]
        if self.settings.mode in _MODES:
            more.append(_MODES[self.settings.mode])
        if isinstance(self.sample, Missing) or self.unknown is not None:
            more.append("MetricsStale")
        if self.grace_warning:
            more.append("GraceTooShort")
        if self.concurrency_warning:
            more.append("ConcurrencyMismatch")
        if self.crash_loop:
            more.append("CrashLoop")
        if self.policy_problem:
            more.append("PolicyInvalid")
        return decided.union(more) if more else decided

    @property
    def warnings(self) -> tuple[str, ...]:
        """What goes wrong, or will with the settings as they are, a line each."""
        return tuple(
            filter(None, (self.policy_problem, self.crash_loop, self.grace_warning, self.concurrency_warning))
        )

    @property
    def grace_warning(self) -> str:
        """By the slowest jobs of the last hour; by the mean where these are not known, or where jobs that
        still run have raised it since; empty if the grace period is longer, or not known."""
        grace, run, p99 = self.grace_seconds, self.run_seconds, self.run_p99
        if grace is not None and p99 is not None and p99.seconds > grace:
            jobs = f"jobs of {p99.queue}" if len(self.queues) > 1 else "jobs"
            runs = f"1 in 100 {jobs} runs over {plain(p99.seconds)} s"
        elif grace is not None and run is not None and run > grace:
            runs = f"jobs run {plain(run)} s on average"
        else:
            return ""
        killed = "a busy worker that is removed is killed with its jobs"
        longer = f"{runs}, longer than the grace period of {grace:g} s"
        return f"{longer}: {killed}; raise the grace period over the longest run time"

    @property
    def concurrency_warning(self) -> str:
        """What is measured against the concurrency of a worker as it is set; empty if they agree."""
        taken = self.decision.inputs.get("taken") if self.decision else None
        if self.excess is not None:
            ran, relation = f"each worker ran {plain(self.excess)} jobs at once or more for minutes", "more"
            do = "correct it, or name the other workers of these queues as part of the target"
        elif taken is not None:
            ran = f"each worker ran {plain(taken)} jobs at once at most while jobs waited"
            relation, do = "fewer", "set it to what a worker runs"
        else:
            return ""
        return f"{ran}, {relation} than {self.concurrency_as_set}: {do}"

    @property
    def concurrency_as_set(self) -> str:
        """The settings of how many jobs a worker runs at once, with their values."""
        names = ("worker_concurrency_per_queue", "worker_concurrency")
        given = {name: getattr(self.settings, name) for name in names}
        return " with ".join(f"{name} {value}" for name, value in given.items() if value is not None)

    @property
    def long_run_seconds(self) -> float | None:
        """The longest that is known of run times: the mean, or that of the slowest jobs; None: nothing is."""
        p99 = self.run_p99.seconds if self.run_p99 else None
        return max((seconds for seconds in (self.run_seconds, p99) if seconds is not None), default=None)

    @property
    def crash_loop(self) -> str | None:
        """Which workers exit soon after each start; None: none is known to."""
        return self.workers.value.crash_loop if isinstance(self.workers, Ok) else None

    @property
    def load_factor(self) -> float | None:
        """See service.load_factor; None if the target or its metrics could not be read."""
        if isinstance(self.sample, Missing) or not isinstance(self.workers, Ok):
            return None
        return target_load_factor(self.settings, self.sample, self.workers.value.requested)

    @property
    def worker_utilization(self) -> float | None:
        """min(1, active / (workers x concurrency)) by the concurrency as set, else as the policy measured it
        (at least); None where either is not known."""
        if isinstance(self.sample, Missing) or not isinstance(self.workers, Ok):
            return None
        workers = (
            self.workers.value.requested if self.workers.value.ready is None else self.workers.value.ready
        )
        measured = self.decision.inputs.get("concurrency") if self.decision else None
        slots = workers * (self.settings.worker_concurrency or measured or 0.0)
        return min(1.0, self.sample.active / slots) if slots > 0 else None

    @property
    def wait_estimate(self) -> float | None:
        """Seconds until a job that arrives now would be taken, by the waiting jobs and the service time.

        None if the service time or the number of slots is not known."""
        if self.decision is None or isinstance(self.sample, Missing) or not isinstance(self.workers, Ok):
            return None
        inputs = self.decision.inputs
        workers = self.workers.value
        slots = (workers.requested if workers.ready is None else workers.ready) * inputs.get(
            "concurrency", 0.0
        )
        if "service_seconds" not in inputs or slots <= 0:
            return None
        return self.sample.waiting * inputs["service_seconds"] / slots


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step over all targets. `leading`: this process is the leader, which acts; `readable`: every order
    could be read (None: orders are not stored); `write_errors`: of the state, since the start;
    `reloaded`: the settings file is in force as it is now."""

    time: float
    took: float
    steps: tuple[TargetStep, ...] = ()
    leading: bool = True
    enabled: bool = True
    dry_run: bool = False
    readable: bool | None = None
    write_errors: int = 0
    reloaded: bool = True


TOTAL_LIMIT: Final = "max_total_workers"
"""The name of the setting, for sentences."""


def within_capacity(
    steps: Sequence[TargetStep],
    priorities: Mapping[str, int],
    most: int,
    known: Mapping[str, int],
    *,
    limit: str = TOTAL_LIMIT,
) -> list[TargetStep]:
    """The steps with `most` workers together, which `limit` is the name of. What a person, a pause or a
    conflict set is not changed. A target that cannot be read has as many as are `known` of it: its workers go
    on."""
    fixed = {step.name for step in steps if step.conditions & _FIXED}
    demands = []
    for step in steps:
        if step.settings.mode == "shadow" and step.decision is not None:  # not done: there are as many as are
            demands.append(Demand(step.name, _current(step), _current(step)))
        elif step.desired is not None:
            least = max(step.settings.min_workers, step.decision.busy if step.decision else 0)
            if step.name in fixed:  # of a target with unknown queues only what there is: more is a proposal
                least = (
                    step.desired if step.unknown is None else min(step.desired, max(least, _current(step)))
                )
            demands.append(Demand(step.name, step.desired, least, priorities[step.name]))
        elif "TargetNotFound" not in step.conditions:
            workers = known.get(step.name, 0)
            demands.append(Demand(step.name, workers, workers))
    granted = share(demands, most)
    return [
        step
        if step.decision is None
        or step.settings.mode == "shadow"
        or granted[step.name] >= step.decision.workers
        else step._replace(decision=_limited(step.decision, granted[step.name], most, limit))
        for step in steps
    ]


def _current(step: TargetStep) -> int:
    return step.workers.value.requested if isinstance(step.workers, Ok) else 0


def _limited(decision: Decision, workers: int, most: int, limit: str) -> Decision:
    note = f"{decision.workers} proposed: {limit} is {most}, this target gets {workers}"
    return decision._replace(
        workers=workers,
        reason="capacity",
        sentence=f"{decision.sentence}; {note}",
        notes=(*decision.notes, note),
        conditions=decision.conditions | {"AtMax"},
    )


def newest_sample(result: StepResult) -> float | None:
    """When the newest of the samples was scraped (unix s); None without any."""
    return max(
        (step.sample.at for step in result.steps if isinstance(step.sample, QueueSample)), default=None
    )


@dataclass
class StepCounters:
    """Counts over all steps since the start."""

    decisions: dict[tuple[str, str, str, str], int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    step_seconds: float = 0.0

    def count(self, result: StepResult) -> None:
        """A decision counts when it changes the number of workers, or would in a dry run."""
        self.steps += 1
        self.step_seconds += result.took
        for step in result.steps:
            if isinstance(step.workers, Failed):
                self._error(step.workers.kind)
            elif not (result.leading or result.dry_run):
                pass  # another scaler counts its decisions: two would count each twice
            elif step.changes:
                old, new, reason = step.change
                key = (",".join(step.queues), step.name, "up" if new > old else "down", reason)
                self.decisions[key] = self.decisions.get(key, 0) + 1
            if isinstance(step.acted, NotApplied):
                self._error(step.acted.kind)
            unknown = step.sample if isinstance(step.sample, Missing) else step.unknown
            if unknown is not None:
                self._error(f"metrics_{unknown.kind}")

    def count_waiting(self, targets: int) -> None:
        """So many targets were not read in a step, since the rate limit was reached."""
        if targets:
            self.errors["throttled"] = self.errors.get("throttled", 0) + targets

    def _error(self, kind: str) -> None:
        self.errors[kind] = self.errors.get(kind, 0) + 1
