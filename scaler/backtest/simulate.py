"""Jobs, workers and a controller in simulated time: what a policy would have done. No I/O, no clock, no dice.

Each job is an event: it waits first in, first out for a free slot of a ready worker and holds it for its
own time. Workers start late, and when they have to go they end their jobs first, as BullMQ's close() does.
What the controller sees is what a scrape saw, at the scrape's time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import ceil, inf
from typing import Final, Protocol

from scaler.model import DUE_SECONDS, Missing, Observation, QueueSample

_QUANTILES: Final = (0.5, 0.95, 0.99)
_STARTS_REMEMBERED: Final = 200


class SimulatedController(Protocol):
    """Whatever answers an observation with a number of workers."""

    def decide(self, seen: Observation) -> int:
        """The number of workers from now on."""


@dataclass(frozen=True, slots=True)
class Load:
    """Jobs by the time each can be taken (s, ascending) and the seconds that each runs.

    `announced`: they were delayed jobs, so that the queue knew them before (`due`). `weight` jobs of the
    real world are one here.
    """

    at: Sequence[float]
    runs: Sequence[float]
    announced: bool = False
    weight: float = 1.0

    def __post_init__(self) -> None:
        if len(self.at) != len(self.runs):
            raise ValueError("each job needs its time of arrival and its seconds of running")


@dataclass(frozen=True, slots=True)
class Plant:
    """What the workers are: `concurrency` jobs at once each; `start` gives the seconds until the next one
    that is started can take jobs. Metrics are scraped every `scrape` seconds; the controller decides every
    `interval`. From the first to the second of `silence` (s) there are no metrics."""

    concurrency: int
    start: Callable[[], float]
    workers: int = 1
    interval: float = 5.0
    scrape: float = 5.0
    silence: tuple[float, float] = (inf, inf)


@dataclass(frozen=True, slots=True)
class TimelinePoint:
    """A point of the picture: simulated seconds, waiting jobs, workers that are ready and those asked for."""

    time: float
    waiting: float
    ready: int
    requested: int


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it. Waits in seconds; `over` is the share of jobs that waited longer than the SLO, those
    that were still waiting at the end among them; `worker_seconds` from the request for a worker to its
    end, `least_worker_seconds` the work itself on workers that are always full. A reversal is a change in the
    other direction than the one before it."""

    jobs: float
    over: float
    waits: dict[float, float]
    longest: float
    worker_seconds: float
    least_worker_seconds: float
    changes: int
    reversals: int
    seconds: float
    moments: tuple[TimelinePoint, ...] = field(repr=False)

    @property
    def cost(self) -> float:
        """Worker time by the least possible."""
        return self.worker_seconds / self.least_worker_seconds if self.least_worker_seconds else inf


def simulate(
    load: Load, plant: Plant, controller: SimulatedController, *, slo: float, until: float
) -> Report:
    """Run from 0 to `until` seconds."""
    return _Simulation(load, plant, controller).run(slo, until)


class _Simulation:
    """The state of one run."""

    def __init__(self, load: Load, plant: Plant, controller: SimulatedController) -> None:
        self._load = load
        self._plant = plant
        self._controller = controller
        self._slots = max(1, round(plant.concurrency / load.weight))  # of one worker, in jobs of `weight`
        self._next = 0  # the first job that has not arrived
        self._waiting: deque[int] = deque()
        self._waits: list[float] = []
        self._ends: list[tuple[float, int, float]] = []  # when, on which worker, how long it ran
        self._free: list[int] = []  # workers by free slots; those that left are skipped
        self._busy: dict[int, int] = {}  # jobs by worker: the ready ones, and those that leave
        self._ready: dict[int, None] = {}
        self._starting: list[tuple[float, int]] = []  # when ready, which
        self._cancelled: set[int] = set()
        self._born: dict[int, float] = {}
        self._names = 0
        self._lived = 0.0
        self._finished = 0
        self._ran = 0.0
        self._start_times: deque[float] = deque(maxlen=_STARTS_REMEMBERED)
        self._start_quantile: float | None = None

    def run(self, slo: float, until: float) -> Report:
        plant = self._plant
        for _ in range(plant.workers):
            self._make_ready(self._new(0.0))
        requested, changes, reversals, last_direction = plant.workers, 0, 0, 0
        moments: list[TimelinePoint] = []
        next_scrape = next_decision = 0.0
        sample: QueueSample | None = None
        while min(next_scrape, next_decision) <= until:
            now = min(next_scrape, next_decision)
            self._advance(now)
            if now == next_scrape:
                next_scrape += plant.scrape
                if not plant.silence[0] <= now < plant.silence[1]:
                    sample = self._sample(now)
            if now == next_decision:
                next_decision += plant.interval
                wanted = self._controller.decide(self._observation(now, requested, sample))
                if wanted != requested:
                    direction = 1 if wanted > requested else -1
                    changes += 1
                    reversals += direction == -last_direction
                    last_direction = direction
                    self._scale(now, requested, wanted)
                    requested = wanted
                moments.append(
                    TimelinePoint(now, self._weighed(len(self._waiting)), len(self._ready), requested)
                )
        self._advance(until)
        return self._report(slo, until, changes, reversals, moments)

    # --- jobs --------------------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        """All that happens up to `now`, in order."""
        at, runs, ends, waiting = self._load.at, self._load.runs, self._ends, self._waiting
        count, next_job = len(at), self._next
        while True:
            arrival = at[next_job] if next_job < count else inf
            ending = ends[0][0] if ends else inf
            beginning = self._starting[0][0] if self._starting else inf
            moment = min(arrival, ending, beginning)
            if moment > now:
                break
            if moment == beginning:
                self._begin()
            elif moment == ending:
                self._end()
            else:
                worker = self._free_worker() if not waiting else None
                if worker is None:
                    waiting.append(next_job)
                else:
                    self._waits.append(0.0)
                    self._busy[worker] += 1
                    heappush(ends, (arrival + runs[next_job], worker, runs[next_job]))
                next_job += 1
        self._next = next_job

    def _free_worker(self) -> int | None:
        free, ready = self._free, self._ready
        while free:
            worker = free.pop()
            if worker in ready:
                return worker
        return None

    def _end(self) -> None:
        moment, worker, ran = heappop(self._ends)
        self._finished += 1
        self._ran += ran
        if worker not in self._ready:
            self._busy[worker] -= 1
            self._bury_if_idle(worker, moment)
        elif self._waiting:
            self._take(worker, moment)
        else:
            self._busy[worker] -= 1
            self._free.append(worker)

    def _take(self, worker: int, moment: float) -> None:
        """The worker goes on with the job that has waited longest; `busy` counts the slot already."""
        job = self._waiting.popleft()
        self._waits.append(moment - self._load.at[job])
        ran = self._load.runs[job]
        heappush(self._ends, (moment + ran, worker, ran))

    # --- workers -----------------------------------------------------------------------------------------

    def _new(self, now: float) -> int:
        self._names += 1
        self._born[self._names] = now
        return self._names

    def _begin(self) -> None:
        moment, worker = heappop(self._starting)
        if worker in self._cancelled:
            self._cancelled.discard(worker)
            return
        self._start_times.append(moment - self._born[worker])
        self._start_quantile = None
        self._make_ready(worker)
        for _ in range(min(len(self._waiting), self._slots)):
            self._free.pop()
            self._busy[worker] += 1
            self._take(worker, moment)

    def _make_ready(self, worker: int) -> None:
        self._ready[worker] = None
        self._busy[worker] = 0
        self._free.extend([worker] * self._slots)

    def _scale(self, now: float, old: int, new: int) -> None:
        for _ in range(new - old):
            worker = self._new(now)
            heappush(self._starting, (now + self._plant.start(), worker))
        leaving = old - new
        starting = [worker for _, worker in sorted(self._starting) if worker not in self._cancelled]
        while leaving > 0 and starting:  # Kubernetes takes those first that are not ready
            worker = starting.pop()
            self._cancelled.add(worker)
            self._lived += now - self._born.pop(worker)
            leaving -= 1
        for worker in list(self._ready)[::-1][: max(0, leaving)]:  # then the youngest
            del self._ready[worker]
            self._bury_if_idle(worker, now)

    def _bury_if_idle(self, worker: int, moment: float) -> None:
        if self._busy[worker] == 0:
            del self._busy[worker]
            self._lived += moment - self._born.pop(worker)

    # --- what is seen ------------------------------------------------------------------------------------

    def _weighed(self, jobs: float) -> float:
        return jobs * self._load.weight

    def _sample(self, now: float) -> QueueSample:
        load = self._load
        due = bisect_right(load.at, now + DUE_SECONDS, lo=self._next) - self._next if load.announced else None
        return QueueSample(
            at=now,
            waiting=self._weighed(len(self._waiting)),
            active=self._weighed(len(self._ends)),
            completed=self._weighed(self._finished),
            failed=0.0,
            duration_sum=self._weighed(self._ran),
            duration_count=self._weighed(self._finished),
            oldest_waiting=now - load.at[self._waiting[0]] if self._waiting else None,
            due=None if due is None else self._weighed(due),
        )

    def _observation(self, now: float, requested: int, sample: QueueSample | None) -> Observation:
        if self._start_quantile is None and self._start_times:
            times = sorted(self._start_times)
            self._start_quantile = times[ceil(0.9 * len(times)) - 1]
        seen = Missing("empty", "not scraped yet") if sample is None else sample
        return Observation(now, requested, len(self._ready), seen, self._start_quantile)

    def _report(
        self, slo: float, until: float, changes: int, reversals: int, moments: list[TimelinePoint]
    ) -> Report:
        waits = self._waits + [until - self._load.at[job] for job in self._waiting]
        waits.sort()
        jobs = len(waits)
        over = (jobs - bisect_left(waits, slo + 1e-9)) / jobs if jobs else 0.0
        lived = self._lived + sum(until - born for born in self._born.values())
        work = self._ran + sum(ran - max(0.0, end - until) for end, _, ran in self._ends)
        return Report(
            jobs=self._weighed(jobs),
            over=over,
            waits={one: waits[ceil(one * jobs) - 1] if jobs else 0.0 for one in _QUANTILES},
            longest=waits[-1] if jobs else 0.0,
            worker_seconds=lived,
            least_worker_seconds=work / self._slots,
            changes=changes,
            reversals=reversals,
            seconds=until,
            moments=tuple(moments),
        )
