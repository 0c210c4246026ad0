"""The configurable values of the rules, from deploy/prometheus/rules/thresholds.yml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field

Ratio = Annotated[float, Field(gt=0, lt=1)]


class AlertThresholds(BaseModel):
    """Ratios are from 0 to 1; the comments of the file say what each is compared with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str = Field(pattern=r"^[A-Za-z0-9_./-]+$")
    runbooks: str
    dashboard: str
    redis_memory_ratio: Ratio
    failed_jobs: int = Field(ge=0)
    host_memory_available_ratio: Ratio
    host_load_per_core: float = Field(gt=0)
    health_score: float = Field(gt=0, le=100)
    wait_seconds: float = Field(gt=0)
    wait_objective: Ratio

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises OSError, yaml.YAMLError, or pydantic.ValidationError with the names of the invalid keys."""
        return cls.model_validate(yaml.safe_load(path.read_text()))


def number(value: float) -> str:
    """As in PromQL: 2, not 2.0."""
    return f"{value:g}"


def as_percent(ratio: float) -> str:
    """80%, for a ratio of 0.8."""
    return f"{ratio * 100:g}%"
