"""What the exporter last heard from its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Heard:
    """`at` is unix s, of the last answer; `why` there is none now, "" where there is."""

    at: float | None
    data: Any
    why: str


@dataclass(frozen=True, slots=True)
class Neighbours:
    """None: nobody said where it is."""

    scaler: Heard | None = None
    alerts: Heard | None = None
