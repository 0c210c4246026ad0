"""Samples, observations, proposals, overrides, decisions: frozen values. No I/O, no clock; unix seconds.

"Workers" are the replicas of a target: pods of a Deployment, or processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias


class QueueSample(NamedTuple):
    """The figures of a target's queues, summed over them. None: there is no such series.

    `at` is the time of the scrape. Jobs `waiting` can be taken now (wait, paused and prioritized); the totals
    are counters that decrease only when their exporter restarts; `duration_sum` is the processing time in
    seconds of `duration_count` attempts; `oldest_waiting` in seconds; `due` counts delayed jobs that fall due
    within DUE_SECONDS; `busy_seconds` is a total too: slot-seconds, active jobs integrated over time; `held`:
    those of the waiting jobs that a pause holds back, or a limit of their queue beside others;
    `limit_seconds`: until a rate limit lets jobs start
    again, 0 while it does, None: there is no limit, or it is not known; `created`: unix time since when the
    totals count the same jobs, so that those of another `created` do not continue them (None: not known);
    `joined`: since then, the jobs of queues that appeared less those of queues that disappeared: by
    so much the jobs that wait or run have changed though none came or ended (None: by nothing);
    `concurrency_limit`: jobs that all workers together may run at once, None: as many as there are slots;
    `largest_share`: of the jobs that wait or run, the part that are of one queue at most, above 0 up to 1
    (None: there is one queue); `largest_active`: the most active jobs of one queue (None: there is one);
    `stalled`: a total of the attempts that lost their lock; `unseen`: those of them that stalled lately:
    they count as waiting, or are another worker's, and the worker that lost them may still run them.
    """

    at: float
    waiting: float
    active: float
    completed: float | None = None
    failed: float | None = None
    added: float | None = None
    duration_sum: float | None = None
    duration_count: float | None = None
    oldest_waiting: float | None = None
    due: float | None = None
    busy_seconds: float | None = None
    held: float | None = None
    limit_seconds: float | None = None
    created: float | None = None
    joined: float | None = None
    concurrency_limit: float | None = None
    largest_share: float | None = None
    largest_active: float | None = None
    stalled: float | None = None
    unseen: float | None = None

    @property
    def runnable(self) -> float:
        """The waiting jobs that no pause holds back."""
        return max(0.0, self.waiting - (self.held or 0.0))

    @property
    def paused(self) -> bool:
        """Whether a pause holds back all jobs that wait; those that are due would wait with them."""
        return self.waiting > 0 and self.held is not None and self.held >= self.waiting

    @property
    def needing_workers(self) -> float:
        """The jobs that need a worker, or soon will: those of a pause need none."""
        return self.runnable + self.active + (0.0 if self.paused else self.due or 0.0)

    def running(self, slots: float) -> float:
        """The jobs that so many slots may be busy with: where some stalled, more than are active."""
        return max(self.active, min(slots, self.active + (self.unseen or 0.0)))

    def with_running(self, slots: float) -> QueueSample:
        """With those that stalled as active jobs too, which a limit of jobs at once does not count."""
        more, limit = self.running(slots) - self.active, self.concurrency_limit
        if more == 0:
            return self
        limit = None if limit is None else limit + more
        return self._replace(active=self.active + more, concurrency_limit=limit)


DUE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no sample. `kind` is a label value (unreachable, timeout, refused, empty, stale, duplicate,
    invalid, error); `message` is a line for people."""

    kind: str
    message: str


Stalled: TypeAlias = tuple[tuple[float, float], ...]
"""Jobs that stalled and may still run, each number after the time (unix seconds) until when they may."""


@dataclass(frozen=True, slots=True)
class RunTimeP99:
    """1 in 100 attempts of this queue took longer than `seconds`, of those that ended in the last hour."""

    queue: str
    seconds: float


class TargetMetrics(NamedTuple):
    """The metrics of a target's queues together; `queues` are the names that exist of those it serves, `busy`
    those of them with jobs that wait, run or are due. `unknown`: what is missing beside the sample, which is
    then a lower bound (None: nothing). `run_p99`: of the queue whose jobs take longest (None: not known).
    `stalled`: the jobs that are `unseen`, by the time until when they are."""

    queues: tuple[str, ...]
    sample: QueueSample | Missing
    busy: tuple[str, ...] = ()
    unknown: Missing | None = None
    run_p99: RunTimeP99 | None = None
    stalled: Stalled = ()


class Observation(NamedTuple):
    """The input of a decision. `workers` is the requested number, `ready` how many can take jobs (None: not
    known), `start_seconds` the 0.9-quantile of measured start times (None: not measured yet), `contested` who
    else scales the target (None: nobody), `idle` how many of the ready workers have no job (None: not
    known), `unknown` what is missing beside the sample, which is then a lower bound (None: nothing), `shared`
    whether others may have set the number since this scaler's last step, `applied` whether it is the number
    of a manifest, `idle_unknown` why it cannot be read which workers have jobs, where one could be killed
    with its own (None: it can, or nobody tells, or jobs end within the grace), `grace_seconds` how long a
    worker has to finish its jobs (None: not known), `leaving` how many workers beside these may still be
    finishing theirs."""

    time: float
    workers: int
    ready: int | None
    sample: QueueSample | Missing
    start_seconds: float | None = None
    contested: str | None = None
    idle: int | None = None
    unknown: Missing | None = None
    shared: bool = False
    applied: bool = False
    idle_unknown: str | None = None
    grace_seconds: float | None = None
    leaving: int = 0

    @property
    def with_jobs(self) -> int:
        """The most workers that may have jobs: those of a rollout's surge too, and those that are leaving."""
        return max(self.workers, self.ready or 0) + self.leaving


class Proposal(NamedTuple):
    """The number of workers that a policy proposes, before the guards. `reason` is a label value (queue,
    load, held, ...), `sentence` explains it to people, `inputs` are the figures behind it; `slots` are the
    jobs that a worker runs at once, as set or as measured."""

    workers: int
    reason: str
    sentence: str
    inputs: Mapping[str, float] = MappingProxyType({})
    slots: float = 1.0


@dataclass(frozen=True, slots=True)
class Override:
    """Manual scaling: the number of workers, why, by whom, since when, until when (None: until removed)."""

    workers: int
    reason: str
    by: str
    at: float
    until: float | None = None


class Control(NamedTuple):
    """The pause and the override of a target. An expired override is not included."""

    paused: bool = False
    override: Override | None = None


Condition: TypeAlias = Literal[
    "Active",
    "Paused",
    "Overridden",
    "MetricsStale",
    "TargetNotFound",
    "Forbidden",
    "Contested",
    "Resting",
    "AtMax",
    "GraceTooShort",
    "ConcurrencyMismatch",
    "CrashLoop",
    "PolicyInvalid",
    "Advising",
    "Shadowing",
]


class Decision(NamedTuple):
    """The desired number of workers, after all guards. `reason` is the policy's, or that of the stage that
    changed the number last; `sentence` is the whole explanation; `notes` has a line for each stage that
    added one; `busy` workers have a job at least; `idle_seconds`: for so long no job has needed a worker
    (None: some do, or it is not known)."""

    workers: int
    proposed: int | None
    reason: str
    sentence: str
    inputs: Mapping[str, float] = MappingProxyType({})
    notes: tuple[str, ...] = ()
    conditions: frozenset[Condition] = frozenset()
    busy: int = 0
    idle_seconds: float | None = None


# --- targets ----------------------------------------------------------------------------------------------


class Workers(NamedTuple):
    """The state of a target: requested and ready workers, the 0.9-quantile of start times, who else scales
    it. `shared`: others may set the requested number; `applied`: a manifest that was applied set it;
    `grace_seconds`: how long a worker has to finish its jobs before it is killed (None: not known);
    `crash_loop`: which workers exit soon after each start, and how (None: none, or not known); `leaving`: the
    workers that were removed or replaced and may still be finishing their jobs. `ready` may be more than
    requested, in a rollout."""

    requested: int
    ready: int | None
    start_seconds: float | None = None
    contested: str | None = None
    shared: bool = False
    applied: bool = False
    grace_seconds: float | None = None
    crash_loop: str | None = None
    leaving: int = 0


@dataclass(frozen=True, slots=True)
class Applied:
    """The target accepted the number."""

    workers: int


@dataclass(frozen=True, slots=True)
class NotApplied:
    """The target did not. `conflict`: another client changed the number since it was read; `retry_after` in
    seconds, if the target sent it; `fenced`: this process is not the leader any more."""

    kind: Literal[
        "conflict",
        "forbidden",
        "unauthorized",
        "not_found",
        "unreachable",
        "timeout",
        "throttled",
        "invalid",
        "fenced",
    ]
    message: str
    retry_after: float | None = None
