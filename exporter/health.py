"""Snapshot -> Health: the score, and every issue with what was measured, its threshold and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["healthy", "warning", "critical"]


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong. `name` is a label value (snake_case), `source` the part it was seen in,
    `penalty` the points it takes; `measured`, `threshold` and `recommendation` are for a person."""

    name: str
    source: str
    penalty: float
    title: str
    measured: str
    threshold: str
    recommendation: str


@dataclass(frozen=True, slots=True)
class Health:
    """0-100, its band, and the issues, the costliest first."""

    score: float
    status: Status
    issues: tuple[Issue, ...]
