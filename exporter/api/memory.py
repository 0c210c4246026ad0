"""The response of `queue_memory`. Units: bytes, seconds; null: unknown."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from exporter.api.models import Moment
from exporter.memory.view import MOST_MEASURED
from exporter.views import View
from service.api.envelope import ApiError, Camel


class MemoryOfState(Camel):
    state: str = Field(description="of the jobs; or schedulers, events (the event stream), other")
    bytes: int
    error_bytes: int = Field(description="standard error of the estimate; 0: all of it was measured")
    jobs: int | None = Field(description="null: it has none, as the event stream")
    samples: int = Field(description="jobs that were measured")
    bytes_per_job: int | None


class MemoryOfQueue(Camel):
    prefix: str
    name: str
    bytes: int
    error_bytes: int
    jobs: int
    growth_bytes_per_second: float | None = Field(
        description="null: known for under 15 minutes, or less than the error"
    )
    growth_seconds: float | None = Field(description="over which it was measured")
    measured_at: Moment
    states: list[MemoryOfState]


class MemoryOfNode(Camel):
    address: str
    used_bytes: int
    max_bytes: int | None = Field(description="maxmemory; null: not set")
    queues_bytes: int = Field(description="of the queues that were measured there")
    growth_bytes_per_second: float | None
    growth_seconds: float | None
    full_in_seconds: float | None = Field(
        description="at this rate; null: no maxmemory is set, or it does not grow, or that is not known"
    )


class RetentionAdvice(Camel):
    prefix: str
    name: str
    option: Literal["removeOnComplete", "removeOnFail"]
    kept: int = Field(description="the value of the option")
    jobs: int = Field(description="that are kept now")
    frees_bytes: int


class UnmeasuredQueue(Camel):
    prefix: str
    name: str
    why: str


class QueueMemoryData(Camel):
    """`queue_memory`"""

    measured_at: float | None = Field(description="unix seconds of the oldest figure; null: none yet")
    bytes: int = Field(description="of all queues that were measured")
    error_bytes: int
    states: dict[str, int]
    node_bytes: dict[str, int] = Field(description="of the queues that were measured, by node")
    nodes: list[MemoryOfNode]
    measured: int = Field(description="queues")
    pending: int = Field(description="queues that were not measured yet")
    unmeasured: int = Field(description="queues that could not be measured")
    unread: list[UnmeasuredQueue] = Field(description="at most 10 of them, and why")
    queues: list[MemoryOfQueue] = Field(description=f"at most {MOST_MEASURED}: those that take most")
    advice: list[RetentionAdvice]
    taken_at: Moment


def queue_memory(view: View, off: str) -> QueueMemoryData:
    """Which queue takes the memory. Raises ApiError 409 with the text `off` while monitoring is off, 503 if
    the memory is not measured."""
    if view["health"] is None:
        raise ApiError(409, off)
    if view["memory"] is None:
        raise ApiError(503, "the memory of the queues is not measured (bullmq.memory.enabled), or not known")
    return QueueMemoryData.model_validate({**view["memory"], "taken_at": view["taken_at"]})
