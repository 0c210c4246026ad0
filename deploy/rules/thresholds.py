"""The configurable values of the rules, from deploy/prometheus/rules/thresholds.yml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Ratio = Annotated[float, Field(gt=0, lt=1)]


def _regular_expression(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


Pattern = Annotated[str, Field(pattern=r'^[^"\\]+$'), AfterValidator(_regular_expression)]
"""As Prometheus matches: the whole name. Without backslashes: [.] is a dot."""


class QueueObjective(BaseModel):
    """The objectives of the queues whose name the pattern matches; what is left out is that of all others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    queues: Pattern
    wait_seconds: float | None = Field(default=None, gt=0)
    wait_objective: Ratio | None = None
    failure_objective: Ratio | None = None


class AlertThresholds(BaseModel):
    """Ratios are from 0 to 1; the comments of the file say what each is compared with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str = Field(pattern=r"^[A-Za-z0-9_./-]+$")
    scaler_job: str = Field(default="oxherd-scaler", pattern=r"^[A-Za-z0-9_./-]+$")
    runbooks: str
    dashboard: str
    per_queue: bool = False
    redis_success_ratio: Ratio = 0.8
    redis_memory_ratio: Ratio
    failed_jobs: int = Field(ge=0)
    host_memory_available_ratio: Ratio
    host_load_per_core: float = Field(gt=0)
    health_score: float = Field(gt=0, le=100)
    wait_seconds: float = Field(gt=0)
    wait_objective: Ratio
    failure_objective: Ratio = 0.99
    objectives: tuple[QueueObjective, ...] = ()
    scaler_step_seconds: float = Field(default=600, gt=0)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises OSError, yaml.YAMLError, or pydantic.ValidationError with the names of the invalid keys."""
        return cls.model_validate(yaml.safe_load(path.read_text()))

    def queue_objectives(self) -> Iterator[tuple[str, Mapping[str, float]]]:
        """The label matchers of disjoint sets of queues, and the three figures of each.

        The first pattern that matches a queue counts; the last set is that of all other queues.
        """
        defaults = {
            "wait_seconds": self.wait_seconds,
            "wait_objective": self.wait_objective,
            "failure_objective": self.failure_objective,
        }
        earlier = ""
        for objective in self.objectives:
            own = objective.model_dump(exclude={"queues"}, exclude_none=True)
            yield f', queue=~"{objective.queues}"{earlier}', defaults | own
            earlier += f', queue!~"{objective.queues}"'
        yield earlier, defaults


def number(value: float) -> str:
    """As in PromQL: 2, not 2.0."""
    return f"{value:g}"


def as_percent(ratio: float) -> str:
    """80%, for a ratio of 0.8."""
    return f"{ratio * 100:g}%"
