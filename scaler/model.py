"""What the scaler sees, wants, decides and is told: frozen values, no I/O, no clock. Times are unix seconds.

"Workers" are the replicas of a target: pods of a Deployment, or processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class QueueSample:
    """What the metrics say of a target's queues, summed over them. None: there is no such series.

    `at` is when the exporter was scraped. Jobs `waiting` can be taken now (wait, paused and prioritized);
    the totals are counters that only fall when their exporter restarts; `duration_sum` is in seconds of
    processing over `duration_count` attempts; `oldest_waiting` in seconds; `due` counts delayed jobs that
    fall due within DUE_SECONDS.
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


DUE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no sample. `kind` is one word fit for a label (unreachable, timeout, refused, empty, stale,
    duplicate, invalid, error); `message` is a line for a person."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class TargetMetrics:
    """The metrics of a target's queues together; `queues` are the names that exist of those it serves."""

    queues: tuple[str, ...]
    sample: QueueSample | Missing


@dataclass(frozen=True, slots=True)
class Observation:
    """All that a decision rests on. `workers` is the number asked for, `ready` how many can take jobs (None:
    not known), `start_seconds` the 0.9-quantile of measured start times (None: none measured yet),
    `contested` says who else sets the number, where someone does."""

    time: float
    workers: int
    ready: int | None
    sample: QueueSample | Missing
    start_seconds: float | None = None
    contested: str | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a policy wants, before any guard. `reason` is a word fit for a label (steady, burst, drain, ...),
    `sentence` says the same to a person, `inputs` are the figures it was made of."""

    workers: int
    reason: str
    sentence: str
    inputs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Override:
    """A person's word: so many workers, why, by whom, since when, and until when (None: until taken back)."""

    workers: int
    reason: str
    by: str
    at: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """What people have ordered for a target. An override that has run out is no longer here."""

    paused: bool = False
    override: Override | None = None


Condition: TypeAlias = Literal[
    "Active", "Paused", "Overridden", "MetricsStale", "TargetNotFound", "Forbidden", "Contested", "AtMax"
]


@dataclass(frozen=True, slots=True)
class Decision:
    """The number after all guards. `reason` is the word of what won: the policy's, or the stage's that
    changed the number last; `sentence` tells it all; `notes` has a line for each stage that had a say."""

    workers: int
    proposed: int | None
    reason: str
    sentence: str
    inputs: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    conditions: frozenset[Condition] = frozenset()


# --- what is scaled ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Workers:
    """A target as it is: the number asked for, how many are ready, the 0.9-quantile of start times, and who
    else sets the number."""

    requested: int
    ready: int | None
    start_seconds: float | None = None
    contested: str | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """The target took the number."""

    workers: int


@dataclass(frozen=True, slots=True)
class NotApplied:
    """It did not. `conflict`: someone else changed the number since it was read; `retry_after` in seconds,
    where the target says when to come back; `fenced`: this process no longer leads."""

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
