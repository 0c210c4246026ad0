"""Other autoscalers as controllers, from their public algorithms, with the capacity of a worker known to all.

Each decides as often as it is asked, so that none loses by a slower rhythm of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, sqrt

from scaler.model import Missing, Observation, QueueSample

_TOLERANCE = 0.1


@dataclass(frozen=True)
class Bounds:
    """The least and the most workers."""

    least: int
    most: int

    def clamp(self, workers: float) -> int:
        return int(min(self.most, max(self.least, workers)))


@dataclass
class _Window:
    """Values of the last `seconds`."""

    seconds: float
    values: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, at: float, value: float) -> None:
        self.values.append((at, value))
        while self.values[0][0] <= at - self.seconds:
            self.values.popleft()

    def mean(self) -> float:
        return sum(value for _, value in self.values) / len(self.values)

    def most(self) -> float:
        return max(value for _, value in self.values)


@dataclass
class Hpa:
    """The HPA v2 on a value per worker (AverageValue), and so KEDA between 1 and N.

    `usage` is what is divided by `target`. Tolerance 0.1; in to the highest recommendation of the last
    `window` seconds; out by the larger of 100 % and 4 workers at once.
    """

    usage: Callable[[QueueSample], float]
    target: float
    bounds: Bounds
    window: float = 300.0
    _recommended: _Window = field(init=False)

    def __post_init__(self) -> None:
        self._recommended = _Window(self.window)

    def decide(self, observation: Observation) -> int:
        sample = observation.sample
        usage = 0.0 if isinstance(sample, Missing) else self.usage(sample)
        now = max(1, observation.workers)
        ratio = usage / (self.target * now)
        raw = now if abs(1 - ratio) <= _TOLERANCE else ceil(usage / self.target)
        raw = self.bounds.clamp(raw)
        self._recommended.add(observation.time, raw)
        held = int(self._recommended.most())
        desired = raw if raw > now else min(now, held)
        return min(desired, max(2 * now, now + 4))


@dataclass
class Knative:
    """Knative's KPA: jobs inside per worker over a stable window of 60 s and a panic window of 6 s; panic at
    twice the capacity of the ready workers, during which it never scales in; in by half at most."""

    target: float
    bounds: Bounds
    _stable: _Window = field(default_factory=lambda: _Window(60.0))
    _short: _Window = field(default_factory=lambda: _Window(6.0))
    _panic_since: float | None = None
    _panic_most: int = 0

    def decide(self, observation: Observation) -> int:
        sample, now = observation.sample, observation.time
        if isinstance(sample, Missing):
            return observation.workers
        inside = sample.waiting + sample.active
        self._stable.add(now, inside)
        self._short.add(now, inside)
        ready = max(1, observation.ready or 1)
        stable = max(ceil(self._stable.mean() / self.target), ready // 2)
        short = ceil(self._short.mean() / self.target)
        if short / ready >= 2:
            self._panic_since = now
        elif self._panic_since is not None and now - self._panic_since > 60:
            self._panic_since, self._panic_most = None, 0
        if self._panic_since is None:
            return self.bounds.clamp(stable)
        self._panic_most = max(self._panic_most, stable, short)
        return self.bounds.clamp(self._panic_most)


@dataclass
class RayServe:
    """Ray Serve: jobs inside per worker, a mean of 30 s; out after 30 s, in after 600 s of agreement."""

    target: float
    bounds: Bounds
    _mean: _Window = field(default_factory=lambda: _Window(30.0))
    _up_since: float | None = None
    _down_since: float | None = None

    def decide(self, observation: Observation) -> int:
        sample, now = observation.sample, observation.time
        if isinstance(sample, Missing):
            return observation.workers
        self._mean.add(now, sample.waiting + sample.active)
        desired = self.bounds.clamp(ceil(self._mean.mean() / self.target))
        if desired > observation.workers:
            self._down_since = None
            self._up_since = now if self._up_since is None else self._up_since
            if now - self._up_since < 30:
                return observation.workers
        elif desired < observation.workers:
            self._up_since = None
            self._down_since = now if self._down_since is None else self._down_since
            if now - self._down_since < 600:
                return observation.workers
        self._up_since = self._down_since = None
        return desired


@dataclass
class QueueLatency:
    """Scaling on queue latency, as Judoscale and HireFire do: one more worker a minute while the oldest job
    waits for half the SLO, one fewer every five minutes while it waits for less than a thirtieth of it."""

    slo: float
    bounds: Bounds
    _up_at: float = -1e9
    _down_at: float = -1e9

    def decide(self, observation: Observation) -> int:
        sample, now, workers = observation.sample, observation.time, observation.workers
        if isinstance(sample, Missing):
            return workers
        oldest = sample.oldest_waiting or 0.0
        if oldest > self.slo / 2:
            self._down_at = now
            if now - self._up_at >= 60:
                self._up_at = now
                return self.bounds.clamp(workers + 1)
        elif oldest > self.slo / 30:
            self._down_at = now
        elif now - self._down_at >= 300:
            self._down_at = now
            return self.bounds.clamp(workers - 1)
        return workers


@dataclass
class BacklogPerInstance:
    """AWS: target tracking of waiting jobs per worker, at what one worker does within the SLO by a run time
    that is typed in by hand. Metrics of a minute; out after three of them, in after fifteen, by a tenth."""

    acceptable: float
    bounds: Bounds
    _minutes: deque[float] = field(default_factory=lambda: deque(maxlen=15))
    _minute: float = -1e9

    def decide(self, observation: Observation) -> int:
        sample, now, workers = observation.sample, observation.time, observation.workers
        if isinstance(sample, Missing) or now - self._minute < 60:
            return workers
        self._minute = now
        self._minutes.append(sample.waiting / max(1, workers))
        recent = list(self._minutes)
        if len(recent) >= 3 and min(recent[-3:]) > self.acceptable:
            self._minutes.clear()
            return self.bounds.clamp(ceil(workers * recent[-1] / self.acceptable))
        if len(recent) == 15 and max(recent) < 0.9 * self.acceptable:
            return self.bounds.clamp(workers - max(1, workers // 10))
        return workers


@dataclass
class SquareRoot:
    """Square-root staffing: the load of the last minute by Little's law, and its square root."""

    concurrency: int
    bounds: Bounds
    _history: deque[QueueSample] = field(default_factory=deque)

    def decide(self, observation: Observation) -> int:
        sample = observation.sample
        if isinstance(sample, Missing):
            return observation.workers
        history = self._history
        if not history or sample.at > history[-1].at:
            history.append(sample)
        while sample.at - history[0].at > 1200:
            history.popleft()
        then = next((old for old in reversed(history) if sample.at - old.at >= 60), history[0])
        seconds = sample.at - then.at
        if seconds <= 0:
            return observation.workers
        came = _ended(sample) - _ended(then) + _inside(sample) - _inside(then)
        busy = sum(old.active for old in history) / len(history) * (sample.at - history[0].at)
        ended = _ended(sample) - _ended(history[0])
        load = max(0.0, came) / seconds * (busy / ended if ended else 1.0)
        return self.bounds.clamp(ceil((load + sqrt(load)) / self.concurrency))


def _ended(sample: QueueSample) -> float:
    return sample.duration_count or 0.0


def _inside(sample: QueueSample) -> float:
    return sample.waiting + sample.active


@dataclass
class WaitingRule:
    """Scales out if more than twice the target waits, in if less than 0.3 of it does, every two minutes, with
    a cooldown of five minutes: by one worker, or up to waiting / target."""

    to_target: bool
    bounds: Bounds
    target: float = 5.0
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
        desired = self.bounds.clamp(desired)
        if desired != now:
            self._changed = observation.time
        return desired
