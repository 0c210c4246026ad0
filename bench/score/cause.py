"""One cause of a condition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.score.world import World

Act = Callable[[World], object]


@dataclass(frozen=True, slots=True)
class Cause:
    """`begin` and `end` of what makes a condition; `seconds` for which it is held, at least until its alert
    should fire; `recovers`: the most seconds until all is well after the end. `settings` are the exporter's,
    beside the usual ones. `condition` is None for an event that only an alert tells: `alert`."""

    name: str
    condition: str | None
    begin: Act
    end: Act
    seconds: float = 20.0
    recovers: float = 60.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    alert: str | None = None
