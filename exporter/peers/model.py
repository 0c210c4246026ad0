"""The last responses of the exporter's peers: the scaler and Prometheus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """The last response of a peer. `at` is its time in unix s; `why` is the reason if the last request
    failed, otherwise ""."""

    at: float | None
    data: Any
    why: str


@dataclass(frozen=True, slots=True)
class Peers:
    """None: the URL of the peer is not set."""

    scaler: PeerStatus | None = None
    alerts: PeerStatus | None = None
