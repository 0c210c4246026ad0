"""Other autoscalers as controllers, from their public algorithms: the HPA with KEDA's metrics, and a common
self-written rule on waiting jobs."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import ceil

from scaler.model import Missing, Observation

_TOLERANCE = 0.1


@dataclass
class Keda:
    """KEDA's Prometheus trigger and the HPA behind it: AverageValue, every 15 s.

    `target` is the number of jobs per worker: waiting jobs and, with `active`, active jobs. It scales in to
    the highest recommendation of the last `window` seconds, and out by the larger of 100 % and 4 workers in
    15 s. Between 0 and 1 KEDA itself decides; `min_workers` is 1 here, so that it never does. An empty result
    counts as 0.
    """

    target: float
    active: bool
    window: float = 300.0
    min_workers: int = 1
    max_workers: int = 200
    _recommended: deque[tuple[float, int]] = field(default_factory=deque)

    def decide(self, observation: Observation) -> int:
        sample = observation.sample
        usage = 0.0 if isinstance(sample, Missing) else sample.waiting + self.active * sample.active
        now = max(1, observation.workers)
        ratio = usage / (self.target * now)
        raw = now if abs(1 - ratio) <= _TOLERANCE else ceil(usage / self.target)
        raw = min(self.max_workers, max(self.min_workers, raw))
        self._recommended.append((observation.time, raw))
        while self._recommended[0][0] < observation.time - self.window:
            self._recommended.popleft()
        held = max(workers for _, workers in self._recommended)
        desired = raw if raw > now else min(now, held)
        return min(desired, max(2 * now, now + 4))


@dataclass
class WaitingRule:
    """Scales out if more than twice the target waits, in if less than 0.3 of it does, every two minutes, with
    a cooldown of five minutes: by one worker, or up to waiting / target."""

    to_target: bool
    target: float = 5.0
    min_workers: int = 2
    max_workers: int = 200
    cooldown: float = 300.0
    _changed: float = -1e9

    def decide(self, observation: Observation) -> int:
        sample = observation.sample
        if isinstance(sample, Missing) or observation.time - self._changed < self.cooldown:
            return observation.workers
        now = observation.workers
        load = min(1.0, (sample.waiting + sample.active) / max(1, now) / 10.0)
        desired = now
        if sample.waiting > 2 * self.target or (load > 0.8 and sample.waiting > 0):
            desired = max(now + 1, ceil(sample.waiting / self.target)) if self.to_target else now + 1
        elif (sample.waiting == 0 and load < 0.2) or sample.waiting < 0.3 * self.target:
            desired = now - 1
        desired = min(self.max_workers, max(self.min_workers, desired))
        if desired != now:
            self._changed = observation.time
        return desired
