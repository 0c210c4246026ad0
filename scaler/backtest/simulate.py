"""Jobs, workers and a controller in simulated time: what a policy would have done. No I/O, no clock.

Each job is an event: it waits first in, first out for a free slot of a ready worker and holds it for its run
time. Workers start with a delay, and finish their jobs before they terminate, as BullMQ's close() does. The
controller observes what was scraped, at the time of the scrape.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import Final, Protocol

from scaler.model import DUE_SECONDS, Missing, Observation, QueueSample
from service.quantiles import quantile

_QUANTILES: Final = (0.5, 0.95, 0.99)
_MAX_START_TIMES: Final = 200


class SimulatedController(Protocol):
    """Anything that decides on a number of workers for an observation."""

    def decide(self, observation: Observation) -> int:
        """The desired number of workers from now on."""


@dataclass(frozen=True, slots=True)
class Load:
    """Jobs by the time from which each can be taken (s, ascending) and their run times (s).

    `announced`: they were delayed jobs, which the queue knew before (`due`). `weight`: so many real jobs are
    one simulated job.
    """

    at: Sequence[float]
    runs: Sequence[float]
    announced: bool = False
    weight: float = 1.0

    def __post_init__(self) -> None:
        if len(self.at) != len(self.runs):
            raise ValueError("each job needs its time of arrival and its seconds of run time")


@dataclass(frozen=True, slots=True)
class Plant:
    """The controlled system (control theory's plant): workers that run `concurrency` jobs at once each;
    `start` returns the seconds until the next started worker is ready. Metrics are scraped every `scrape`
    seconds; the controller decides every `interval`. Between the two times of `silence` (s) there are no
    metrics."""

    concurrency: int
    start: Callable[[], float]
    workers: int = 1
    interval: float = 5.0
    scrape: float = 5.0
    silence: tuple[float, float] = (inf, inf)


@dataclass(frozen=True, slots=True)
class TimelinePoint:
    """A point of the plot: simulated seconds, waiting jobs, ready and requested workers."""

    time: float
    waiting: float
    ready: int
    requested: int


@dataclass(frozen=True, slots=True)
class Report:
    """The result. Waits in seconds; `over` is the share of jobs that waited longer than the SLO, including
    those that still waited at the end; `worker_seconds` from the request of a worker to its end,
    `least_worker_seconds` those of the same jobs on workers that are always full. A reversal is a change in
    the opposite direction of the change before it."""

    jobs: float
    over: float
    waits: dict[float, float]
    longest: float
    worker_seconds: float
    least_worker_seconds: float
    changes: int
    reversals: int
    seconds: float
    timeline: tuple[TimelinePoint, ...] = field(repr=False)

    @property
    def cost(self) -> float:
        """Worker time divided by the least possible."""
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
        self._wait_times: list[float] = []
        self._ends: list[tuple[float, int, float]] = []  # time, worker, run time
        self._free: list[int] = []  # a worker for each free slot; removed ones are skipped
        self._busy: dict[int, int] = {}  # jobs by worker: of the ready and the leaving workers
        self._ready: dict[int, None] = {}
        self._starting: list[tuple[float, int]] = []  # when ready, worker
        self._cancelled: set[int] = set()
        self._requested_at: dict[int, float] = {}
        self._last_worker = 0
        self._worker_seconds = 0.0
        self._finished = 0
        self._busy_seconds = 0.0
        self._start_times: deque[float] = deque(maxlen=_MAX_START_TIMES)
        self._start_quantile: float | None = None

    def run(self, slo: float, until: float) -> Report:
        plant = self._plant
        for _ in range(plant.workers):
            self._make_ready(self._add_worker(0.0))
        requested, changes, reversals, last_direction = plant.workers, 0, 0, 0
        timeline: list[TimelinePoint] = []
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
                desired = self._controller.decide(self._observation(now, requested, sample))
                if desired != requested:
                    direction = 1 if desired > requested else -1
                    changes += 1
                    reversals += direction == -last_direction
                    last_direction = direction
                    self._scale(now, requested, desired)
                    requested = desired
                timeline.append(
                    TimelinePoint(now, self._weighted(len(self._waiting)), len(self._ready), requested)
                )
        self._advance(until)
        return self._report(slo, until, changes, reversals, timeline)

    # --- jobs --------------------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        """All events up to `now`, in order."""
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
                self._start_next()
            elif moment == ending:
                self._end_next()
            else:
                worker = self._free_worker() if not waiting else None
                if worker is None:
                    waiting.append(next_job)
                else:
                    self._wait_times.append(0.0)
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

    def _end_next(self) -> None:
        moment, worker, run_time = heappop(self._ends)
        self._finished += 1
        self._busy_seconds += run_time
        if worker not in self._ready:
            self._busy[worker] -= 1
            self._remove_if_idle(worker, moment)
        elif self._waiting:
            self._take(worker, moment)
        else:
            self._busy[worker] -= 1
            self._free.append(worker)

    def _take(self, worker: int, moment: float) -> None:
        """The worker takes the job that has waited longest; `busy` counts the slot already."""
        job = self._waiting.popleft()
        self._wait_times.append(moment - self._load.at[job])
        run_time = self._load.runs[job]
        heappush(self._ends, (moment + run_time, worker, run_time))

    # --- workers -----------------------------------------------------------------------------------------

    def _add_worker(self, now: float) -> int:
        self._last_worker += 1
        self._requested_at[self._last_worker] = now
        return self._last_worker

    def _start_next(self) -> None:
        moment, worker = heappop(self._starting)
        if worker in self._cancelled:
            self._cancelled.discard(worker)
            return
        self._start_times.append(moment - self._requested_at[worker])
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
            worker = self._add_worker(now)
            heappush(self._starting, (now + self._plant.start(), worker))
        leaving = old - new
        starting = [worker for _, worker in sorted(self._starting) if worker not in self._cancelled]
        while leaving > 0 and starting:  # Kubernetes deletes pods that are not ready first
            worker = starting.pop()
            self._cancelled.add(worker)
            self._worker_seconds += now - self._requested_at.pop(worker)
            leaving -= 1
        for worker in list(self._ready)[::-1][: max(0, leaving)]:  # then the youngest
            del self._ready[worker]
            self._remove_if_idle(worker, now)

    def _remove_if_idle(self, worker: int, moment: float) -> None:
        if self._busy[worker] == 0:
            del self._busy[worker]
            self._worker_seconds += moment - self._requested_at.pop(worker)

    # --- observations ------------------------------------------------------------------------------------

    def _weighted(self, jobs: float) -> float:
        return jobs * self._load.weight

    def _sample(self, now: float) -> QueueSample:
        load = self._load
        due = bisect_right(load.at, now + DUE_SECONDS, lo=self._next) - self._next if load.announced else None
        return QueueSample(
            at=now,
            waiting=self._weighted(len(self._waiting)),
            active=self._weighted(len(self._ends)),
            completed=self._weighted(self._finished),
            failed=0.0,
            duration_sum=self._weighted(self._busy_seconds),
            duration_count=self._weighted(self._finished),
            oldest_waiting=now - load.at[self._waiting[0]] if self._waiting else None,
            due=None if due is None else self._weighted(due),
        )

    def _observation(self, now: float, requested: int, sample: QueueSample | None) -> Observation:
        if self._start_quantile is None and self._start_times:
            self._start_quantile = quantile(self._start_times, 0.9)
        scraped = Missing("empty", "not scraped yet") if sample is None else sample
        return Observation(now, requested, len(self._ready), scraped, self._start_quantile)

    def _report(
        self, slo: float, until: float, changes: int, reversals: int, timeline: list[TimelinePoint]
    ) -> Report:
        waits = self._wait_times + [until - self._load.at[job] for job in self._waiting]
        waits.sort()
        jobs = len(waits)
        over = (jobs - bisect_left(waits, slo + 1e-9)) / jobs if jobs else 0.0
        worker_seconds = self._worker_seconds + sum(
            until - requested_at for requested_at in self._requested_at.values()
        )
        busy_seconds = self._busy_seconds + sum(
            run_time - max(0.0, end - until) for end, _, run_time in self._ends
        )
        return Report(
            jobs=self._weighted(jobs),
            over=over,
            waits={part: quantile(waits, part) or 0.0 for part in _QUANTILES},
            longest=waits[-1] if jobs else 0.0,
            worker_seconds=worker_seconds,
            least_worker_seconds=busy_seconds / self._slots,
            changes=changes,
            reversals=reversals,
            seconds=until,
            timeline=tuple(timeline),
        )
