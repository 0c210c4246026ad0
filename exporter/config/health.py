"""The settings of the health score: thresholds and points."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, Field, create_model
from pydantic.fields import FieldInfo

from exporter.condition_table import CONDITION_TABLE
from service.config.model import MOST_JOBS_COUNTED, MOST_TIMES, YEAR_SECONDS, Model

_MOST_BYTES: Final = 1 << 50


class WorkThresholds(Model):
    """Thresholds of the conditions of work, each for one queue."""

    no_worker_seconds: float = Field(
        60.0,
        gt=0,
        le=YEAR_SECONDS,
        description="seconds for which jobs could be taken while no worker is known",
    )
    no_start_seconds: float = Field(
        600.0,
        gt=0,
        le=YEAR_SECONDS,
        description="seconds for which jobs could be taken, and none is active or was started",
    )
    wait_seconds: float | None = Field(
        None, gt=0, le=YEAR_SECONDS, description="seconds that the oldest job may wait; absent: any time"
    )
    delayed_overdue_seconds: float = Field(
        60.0,
        gt=0,
        le=YEAR_SECONDS,
        description="seconds for which a delayed job may be due while others are started",
    )
    no_lock_seconds: float = Field(
        60.0,
        gt=0,
        le=YEAR_SECONDS,
        description="seconds for which an active job may have no lock: the workers' lockDuration and "
        "stalledInterval together",
    )
    active_ratio: float = Field(
        10.0,
        ge=1,
        le=MOST_TIMES,
        description="time for which a job is active / the time that 99 % of the queue's jobs need",
    )
    active_seconds: float = Field(
        300.0,
        gt=0,
        le=YEAR_SECONDS,
        description="seconds for which any job may be active, whatever the others need",
    )
    stalled_jobs: int = Field(
        1, ge=0, le=MOST_JOBS_COUNTED, description="jobs of a queue that stalled in the last hour"
    )
    failed_ratio: float = Field(
        0.25, gt=0, le=1, description="failed / ended jobs of the last hour; also of all queues together"
    )
    failed_ratio_jobs: int = Field(
        20,
        ge=1,
        le=MOST_JOBS_COUNTED,
        description="ended jobs of the last hour, below which failed_ratio does not count",
    )
    paused_seconds: float = Field(
        86_400.0, gt=0, le=YEAR_SECONDS, description="seconds for which a queue with jobs may be paused"
    )
    waiting_children_seconds: float = Field(
        86_400.0, gt=0, le=YEAR_SECONDS, description="seconds for which a job may wait for its children"
    )
    without_workers_seconds: float = Field(
        600.0, gt=0, le=YEAR_SECONDS, description="seconds for which a queue without jobs may have no worker"
    )
    scheduler_late_seconds: float = Field(
        60.0, gt=0, le=YEAR_SECONDS, description="seconds after its next run at which a job scheduler is late"
    )
    scheduler_missing_seconds: float = Field(
        30.0,
        ge=0,
        le=YEAR_SECONDS,
        description="seconds for which the job of a scheduler's next run has been missing",
    )


def _has_closed_sets(pattern: str) -> str:
    """A glob pattern. Raises ValueError for a [ without its ], which would only match itself."""
    rest = pattern
    while "[" in rest:
        rest = rest.partition("[")[2]
        # A ] that comes first is a member of the set, also after the ! of a negation.
        members = rest.removeprefix("!")
        end = members.find("]", 1)
        if end < 0:
            raise ValueError("a [ has no ]: write [[] for the character")
        rest = members[end + 1 :]
    return pattern


_OF_QUEUES: Final[dict[str, Any]] = {
    "match": (
        Annotated[str, AfterValidator(_has_closed_sets)],
        Field(min_length=1, description="glob pattern for the queue's name; the first match counts"),
    ),
    "excluded": (
        bool,
        Field(
            False,
            description="true: no condition of work concerns these queues, as where no worker is meant to be",
        ),
    ),
} | {
    name: (field.annotation | None, FieldInfo.merge_field_infos(field, default=None))  # type: ignore[operator]
    for name, field in WorkThresholds.model_fields.items()
}


class QueueHealth(create_model("QueueThresholds", __base__=Model, **_OF_QUEUES)):  # type: ignore[misc]
    """Thresholds of the queues whose name matches `match`; what is absent is as in `health.thresholds`."""


def _are_different(queues: tuple[QueueHealth, ...]) -> tuple[QueueHealth, ...]:
    """Raises ValueError for a pattern that is there before: only the first would count."""
    patterns = [queue.match for queue in queues]
    twice = next((pattern for pattern in patterns if patterns.count(pattern) > 1), None)
    if twice is not None:
        raise ValueError(f"the pattern {twice!r} is there twice; only the first would count")
    return queues


class Thresholds(WorkThresholds):
    """Thresholds at which a measurement becomes an issue."""

    redis_memory_ratio: float = Field(0.8, gt=0, le=1, description="used / maxmemory, or / the host's memory")
    redis_clients_ratio: float = Field(0.9, gt=0, le=1, description="connected clients / maxclients")
    redis_recent_seconds: float = Field(
        300.0,
        gt=0,
        le=300,
        description="seconds for which refused writes that went on for a minute, rejected connections and "
        "disconnected clients count after they were last seen",
    )
    redis_unsaved_seconds: float = Field(
        7200.0,
        gt=0,
        le=YEAR_SECONDS,
        description="seconds since the last save of a shard without an append-only file",
    )
    replication_lag_bytes: int = Field(
        64 << 20,
        gt=0,
        le=_MOST_BYTES,
        description="bytes that a linked replica lacks; the default is the soft limit of Redis for a replica",
    )
    clock_offset_seconds: float = Field(
        5.0,
        gt=0,
        le=YEAR_SECONDS,
        description="seconds between the clocks of a Redis node and of the exporter",
    )
    failed_jobs: int = Field(
        50, ge=0, le=MOST_JOBS_COUNTED, description="jobs of all queues that failed in the last hour"
    )
    host_memory_available_ratio: float = Field(
        0.1, ge=0, le=1, description="available / total memory, below which the host is low on memory"
    )
    host_load_per_core: float = Field(
        2.0, gt=0, le=MOST_TIMES, description="1-minute load per core of the machine"
    )
    process_memory_ratio: float = Field(
        0.9, gt=0, le=1, description="resident memory of the exporter / its memory limit"
    )
    process_memory_bytes: int = Field(
        1 << 30, gt=0, le=_MOST_BYTES, description="memory limit in bytes, if the system sets none"
    )


Points: TypeAlias = Annotated[float, Field(ge=0, le=100)]


_POINTS: Final[dict[str, Any]] = {
    row.name: (Points, Field(row.points, description=row.present_when)) for row in CONDITION_TABLE.values()
}


class Penalties(create_model("Points", __base__=Model, **_POINTS)):  # type: ignore[misc]
    """Points that an issue subtracts from 100, by the name of its condition in the table."""


class HealthSettings(Model):
    thresholds: Thresholds = Thresholds()
    penalties: Penalties = Penalties()
    queues: Annotated[tuple[QueueHealth, ...], AfterValidator(_are_different)] = Field(
        (), description="other thresholds for some of the queues, or none"
    )
