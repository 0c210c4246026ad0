"""The settings of the queues' memory."""

from __future__ import annotations

from pydantic import Field

from service.config.model import DAY_SECONDS, Model


class MemorySettings(Model):
    """How much memory the queues take, which is sampled in the background."""

    enabled: bool = Field(True, description="measure a sample of the jobs with MEMORY USAGE")
    interval_seconds: float = Field(
        300.0,
        ge=10,
        le=DAY_SECONDS,
        description="seconds from the start of one survey of all queues to the next; longer where it takes "
        "longer within `redis_ratio`",
    )
    redis_ratio: float = Field(
        0.005,
        ge=0.0001,
        le=0.1,
        description="share of the time of each Redis node that a survey may use while it goes on: after a "
        "request of 1 ms it pauses for 200 ms by default",
    )
    samples: int = Field(
        20_000,
        ge=100,
        le=1_000_000,
        description="jobs of a node that a survey measures at most, of all of its queues together, or two of "
        "each state of each queue where these are more; 12 to 40 us of the node's time each",
    )
    series_queues: int = Field(
        500,
        ge=0,
        le=10_000,
        description="queues with series of their own: those that take most memory. All are in the sum",
    )
