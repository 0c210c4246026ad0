"""KEDA and the HPA that it makes, in simulated seconds: what they ask when, and what they do with answers.

As their documentation and sources have it (KEDA 2.20, autoscaling/v2): KEDA alone moves between 0 and 1,
every `pollingInterval`, or at a push of activity; a push of inactivity is ignored. The HPA moves between 1
and N, every 15 s; its question goes through KEDA to the scaler, for nothing is cached unless
`useCachedMetrics` is set. Errors of both are counted for `fallback`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from tests.support.hpa import HPA_SYNC, Autoscaler, UnknownMetricError


class Source(Protocol):
    """What KEDA asks."""

    def value(self, now: float) -> float:
        """The metric. Raises UnknownMetricError."""

    def active(self, now: float) -> bool:
        """Whether it may be scaled from 0. Raises UnknownMetricError."""


@dataclass(frozen=True)
class ScaledObject:
    """The fields that matter, with their defaults. `up`: percent and pods that may be added in 15 s, of which
    the HPA takes the larger; `fallback`: failureThreshold and replicas; `target`: of the metric."""

    minimum: int = 0
    maximum: int = 100
    polling: int = 30
    cooldown: int = 300
    fallback: tuple[int, int] | None = None
    target: float = 1.0
    tolerance: float = 0.1
    up: tuple[float, float] = (100.0, 4.0)
    stabilization: int = 300


@dataclass
class Workload:
    """Its replicas, which KEDA and the HPA set, second by second. `polled` and `synced`: when they first do
    (s); `pushed`: what a push trigger tells in a second (None: nothing, or there is no such trigger)."""

    scaled: ScaledObject
    source: Source
    replicas: int = 0
    polled: int = 0
    synced: int = 0
    pushed: Callable[[float], bool | None] = lambda _: None
    now: int = -1
    failures: int = 0
    last_active: float = -inf
    history: list[tuple[int, int]] = field(default_factory=list)
    _hpa: Autoscaler = field(init=False)

    def __post_init__(self) -> None:
        scaled = self.scaled
        bounds = max(1, scaled.minimum), scaled.maximum
        self._hpa = Autoscaler(*bounds, scaled.target, scaled.tolerance, scaled.up, scaled.stabilization)

    def run(self, until: int) -> Iterator[int]:
        """Each second, after what happens in it."""
        while self.now < until:
            self.now += 1
            if self.pushed(self.now):
                self._execute(active=True, error=False)
            if self.now >= self.polled and (self.now - self.polled) % self.scaled.polling == 0:
                self._poll()
            if self.now >= self.synced and (self.now - self.synced) % HPA_SYNC == 0:
                self._sync()
            yield self.now

    def after(self, until: int) -> int:
        """The replicas at this second."""
        for _ in self.run(until):
            pass
        return self.replicas

    def reaches(self, replicas: int, *, within: int = 1000) -> int | None:
        """The second in which there are first so many."""
        return next((now for now in self.run(self.now + within) if self.replicas == replicas), None)

    def _set(self, replicas: int) -> None:
        if replicas != self.replicas:
            self.replicas = replicas
            self.history.append((self.now, replicas))

    def _metric(self) -> tuple[float | None, bool, bool]:
        """The value (None: an error that KEDA passes on), whether it is active, whether it is an error."""
        try:
            value, active = self.source.value(self.now), self.source.active(self.now)
        except UnknownMetricError:
            self.failures += 1
            threshold, replicas = self.scaled.fallback or (inf, 0)
            if self.failures > threshold:
                return replicas * self.scaled.target, True, False
            return None, False, True
        self.failures = 0
        return value, active, False

    def _poll(self) -> None:
        _, active, error = self._metric()
        self._execute(active=active, error=error)

    def _execute(self, *, active: bool, error: bool) -> None:
        scaled = self.scaled
        if active:
            if self.replicas == 0:
                self._set(max(1, scaled.minimum))
            self.last_active = self.now
        elif error and (scaled.fallback is None or scaled.fallback[1] > 0):
            return
        elif self.replicas > 0 and scaled.minimum == 0:
            if self.now - self.last_active > scaled.cooldown:
                self._set(0)
        elif self.replicas < scaled.minimum:
            self._set(scaled.minimum)

    def _sync(self) -> None:
        if self.replicas > 0:  # the HPA leaves a workload at 0 alone
            self._set(self._hpa.replicas(self.now, self.replicas, self._metric()[0]))
