"""What the exporter last heard from its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """`at` is unix s, of the last answer; `why` there is none now, "" where there is."""

    at: float | None
    data: Any
    why: str


@dataclass(frozen=True, slots=True)
class Peers:
    """None: nobody said where it is."""

    scaler: PeerStatus | None = None
    alerts: PeerStatus | None = None
