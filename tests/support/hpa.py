"""The HPA of one metric, in simulated seconds, as its documentation and sources have it (autoscaling/v2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import Final

HPA_SYNC: Final = 15
"""Seconds between two looks: --horizontal-pod-autoscaler-sync-period."""


class UnknownMetricError(Exception):
    """What is asked answers with an error."""


@dataclass
class Autoscaler:
    """The fields that matter, with their defaults. `target`: an average value; `up`: percent and pods that
    may be added in 15 s, of which it takes the larger. With a `minimum` of 0 it moves from and to 0."""

    minimum: int = 1
    maximum: int = 100
    target: float = 1.0
    tolerance: float = 0.1
    up: tuple[float, float] = (100.0, 4.0)
    stabilization: int = 300
    _raw: list[tuple[int, int]] = field(default_factory=list)

    def replicas(self, now: int, current: int, value: float | None) -> int:
        """What it sets at a look; `value`: the sum of the values of the metric (None: an error)."""
        if value is None or (current == 0 and self.minimum > 0):
            return current
        wanted = ceil(round(value * 1000) / (self.target * 1000))  # quantities have three decimals
        if current > 0 and 1.0 - self.tolerance <= value / (self.target * current) <= 1.0 + self.tolerance:
            wanted = current
        self._raw = [(at, raw) for at, raw in self._raw if now - at < self.stabilization]
        self._raw.append((now, wanted))
        if wanted < current:
            wanted = min(current, max(raw for _, raw in self._raw))
        percent, pods = self.up
        wanted = min(wanted, max(ceil(current * (1 + percent / 100)), current + int(pods)))
        return max(self.minimum, min(self.maximum, wanted))
