"""Jobs, workers and a controller in simulated time: what a policy would have done. No I/O, no clock.

Each job is an event: it waits first in, first out for a free slot of a ready worker and holds it for its run
time. Workers start with a delay, and finish their jobs before they terminate, as BullMQ's close() does. The
controller sees what was scraped, some time after the scrape, as it does in production.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from heapq import heappop, heappush
from math import inf
from typing import Final, Protocol

from scaler.backtest.plant import Load, Plant, Report, TimelinePoint
from scaler.model import DUE_SECONDS, Missing, Observation, QueueSample
from service.quantiles import quantile

_QUANTILES: Final = (0.5, 0.95, 0.99)
_MAX_START_TIMES: Final = 200
_STALLED_SECONDS: Final = 30.0  # until a job of a worker that is gone is taken again

_END, _READY, _KILL, _CRASH, _RETRY, _OPEN = range(6)


class SimulatedController(Protocol):
    """Anything that decides on a number of workers for an observation."""

    def decide(self, observation: Observation) -> int:
        """The desired number of workers from now on."""


def simulate(
    load: Load, plant: Plant, controller: SimulatedController, *, slo: float, until: float
) -> Report:
    """Run from 0 to `until` seconds."""
    return _Simulation(load, plant, controller).run(slo, until)


class _Simulation:
    """The state of one run. An attempt is (job, number of the attempt, since when it can be taken)."""

    def __init__(self, load: Load, plant: Plant, controller: SimulatedController) -> None:
        self._load = load
        self._plant = plant
        self._controller = controller
        self._slots = max(1, round(plant.concurrency / load.weight))  # of one worker, in jobs of `weight`
        self._next = 0  # the first job that has not arrived
        self._waiting: deque[tuple[int, int, float]] = deque()
        self._wait_times: list[float] = []
        self._agenda: list[tuple[float, int, int, int]] = []  # time, event, of what, number of the event
        self._number = 0
        self._running: dict[int, tuple[int, int, int, float]] = {}  # run: job, attempt, worker, began
        self._runs_of: dict[int, set[int]] = {}  # of the ready and the leaving workers
        self._retries: dict[int, tuple[int, int, float]] = {}  # attempts that can be taken later
        self._known_retries: list[float] = []  # when: those that are delayed jobs
        self._free: list[int] = []  # a worker for each free slot; removed ones are skipped
        self._ready: dict[int, None] = {}
        self._starting: dict[int, float] = {}  # when ready
        self._requested_at: dict[int, float] = {}
        self._asked_at: dict[int, float] = {}  # of workers whose start is measured
        self._last_worker = 0
        self._worker_seconds = 0.0
        self._ended = self._completed = self._failed = 0
        self._run_seconds = 0.0  # of attempts that ended
        self._wasted_seconds = 0.0  # of attempts that were killed
        self._killed = 0
        self._began_at_sum = 0.0  # of the running attempts
        self._window = (-inf, 0)  # of the limit: since when, and how many started
        self._start_times: deque[float] = deque(maxlen=_MAX_START_TIMES)
        self._start_quantile: float | None = None
        self._samples: deque[QueueSample] = deque()
        self._changes = self._reversals = self._starts = 0
        self._timeline: list[TimelinePoint] = []

    def run(self, slo: float, until: float) -> Report:
        plant = self._plant
        for _ in range(plant.workers):
            worker = self._request(0.0)
            self._make_ready(worker, 0.0)
        for _, end in self._load.pauses:
            self._schedule(end, _OPEN, 0)
        requested, last_direction = plant.workers, 0
        next_scrape, next_decision = 0.0, plant.phase
        while min(next_scrape, next_decision) <= until:
            now = min(next_scrape, next_decision)
            self._advance(now)
            if now == next_scrape:
                next_scrape += plant.scrape
                if not any(begin <= now < end for begin, end in plant.outages):
                    self._samples.append(self._sample(now))
            if now == next_decision:
                next_decision += plant.interval
                desired = self._controller.decide(self._observation(now, requested))
                if desired != requested:
                    direction = 1 if desired > requested else -1
                    self._changes += 1
                    self._reversals += direction == -last_direction
                    self._starts += max(0, desired - requested)
                    last_direction = direction
                    self._scale(now, requested, desired)
                    requested = desired
                self._timeline.append(
                    TimelinePoint(now, self._weighted(len(self._waiting)), len(self._ready), requested)
                )
        self._advance(until)
        return self._report(slo, until)

    # --- events ------------------------------------------------------------------------------------------

    def _schedule(self, at: float, event: int, subject: int) -> None:
        self._number += 1
        heappush(self._agenda, (at, event, subject, self._number))

    def _advance(self, now: float) -> None:
        """All events up to `now`, in order."""
        at, agenda = self._load.at, self._agenda
        count = len(at)
        while True:
            arrival = at[self._next] if self._next < count else inf
            event = agenda[0][0] if agenda else inf
            if min(arrival, event) > now:
                return
            if arrival < event:
                self._waiting.append((self._next, 0, arrival))
                self._next += 1
                self._dispatch(arrival)
            else:
                moment, kind, subject, _ = heappop(agenda)
                self._handle(moment, kind, subject)

    def _handle(self, moment: float, kind: int, subject: int) -> None:
        if kind == _END:
            if subject in self._running:
                self._end(subject, moment)
        elif kind == _READY:
            if subject in self._starting:
                del self._starting[subject]
                self._start_times.append(moment - self._asked_at.pop(subject))
                self._start_quantile = None
                self._make_ready(subject, moment)
        elif kind == _KILL:
            if subject in self._runs_of:
                self._lose_jobs(subject, moment)
                self._remove(subject, moment)
        elif kind == _CRASH:
            if subject in self._ready:
                self._crash(subject, moment)
        elif kind == _RETRY:
            self._waiting.append(self._retries.pop(subject))
        self._dispatch(moment)

    # --- jobs --------------------------------------------------------------------------------------------

    def _dispatch(self, moment: float) -> None:
        """Start waiting attempts as far as there are slots, and as the limit and the pauses let them."""
        waiting, free, ready = self._waiting, self._free, self._ready
        load = self._load
        restricted = load.limit is not None or load.concurrency_limit is not None or load.pauses
        while waiting and free:
            if free[-1] not in ready:
                free.pop()
                continue
            if restricted and not self._may_start(moment):
                return
            worker = free.pop()
            job, attempt, since = waiting.popleft()
            self._wait_times.append(moment - since)
            self._number += 1
            run = self._number
            self._running[run] = (job, attempt, worker, moment)
            self._runs_of[worker].add(run)
            self._began_at_sum += moment
            heappush(self._agenda, (moment + self._load.runs[job], _END, run, run))

    def _may_start(self, moment: float) -> bool:
        most = self._load.concurrency_limit
        if self._paused(moment) or (most is not None and self._weighted(len(self._running)) >= most):
            return False
        if self._load.limit is None:
            return True
        most, seconds = self._load.limit
        since, started = self._window
        if moment >= since + seconds:
            since, started = moment, 0
        if started >= most:
            return False
        self._window = since, started + 1
        if started + 1 == most:
            self._schedule(since + seconds, _OPEN, 0)
        return True

    def _limit_seconds(self, moment: float) -> float | None:
        """Until the limit lets jobs start again, 0 while it does."""
        if self._load.limit is None:
            return None
        most, seconds = self._load.limit
        since, started = self._window
        return max(0.0, since + seconds - moment) if started >= most else 0.0

    def _paused(self, moment: float) -> bool:
        return any(begin <= moment < end for begin, end in self._load.pauses)

    def _end(self, run: int, moment: float) -> None:
        job, attempt, worker, began = self._running.pop(run)
        self._began_at_sum -= began
        self._ended += 1
        self._run_seconds += moment - began
        if attempt >= self._load.failing.get(job, 0):
            self._completed += 1
        elif attempt + 1 >= self._load.attempts:
            self._failed += 1
        else:
            self._retry(job, attempt + 1, moment)
        runs = self._runs_of[worker]
        runs.discard(run)
        if worker in self._ready:
            self._free.append(worker)
        elif not runs:
            self._remove(worker, moment)

    def _retry(self, job: int, attempt: int, moment: float) -> None:
        delay = self._load.backoff * 2.0 ** (attempt - 1)
        if delay <= 0:
            self._waiting.append((job, attempt, moment))
            return
        self._known_retries.append(moment + delay)
        self._later(job, attempt, moment + delay)

    def _later(self, job: int, attempt: int, at: float) -> None:
        self._number += 1
        self._retries[self._number] = (job, attempt, at)
        self._schedule(at, _RETRY, self._number)

    # --- workers -----------------------------------------------------------------------------------------

    def _request(self, now: float) -> int:
        self._last_worker += 1
        self._requested_at[self._last_worker] = now
        return self._last_worker

    def _start(self, worker: int, now: float) -> None:
        ready_at = now + self._plant.start()
        self._starting[worker] = ready_at
        self._asked_at[worker] = now
        if ready_at < inf:
            self._schedule(ready_at, _READY, worker)

    def _make_ready(self, worker: int, now: float) -> None:
        self._ready[worker] = None
        self._runs_of[worker] = set()
        self._free.extend([worker] * self._slots)
        if self._plant.crash is not None:
            self._schedule(now + self._plant.crash(), _CRASH, worker)

    def _crash(self, worker: int, now: float) -> None:
        self._lose_jobs(worker, now)
        del self._ready[worker], self._runs_of[worker]
        self._free = [other for other in self._free if other != worker]
        self._start(worker, now)

    def _lose_jobs(self, worker: int, now: float) -> None:
        for run in self._runs_of[worker]:
            job, attempt, _, began = self._running.pop(run)
            self._began_at_sum -= began
            self._wasted_seconds += now - began
            self._killed += 1
            self._later(job, attempt, now + _STALLED_SECONDS)
        self._runs_of[worker].clear()

    def _scale(self, now: float, old: int, new: int) -> None:
        for _ in range(new - old):
            self._start(self._request(now), now)
        leaving = max(0, old - new)
        starting = sorted(self._starting, key=lambda worker: (self._starting[worker], worker))
        for worker in starting[::-1][:leaving]:  # Kubernetes deletes pods that are not ready first
            del self._starting[worker], self._asked_at[worker]
            self._worker_seconds += now - self._requested_at.pop(worker)
        for worker in self._victims()[: max(0, leaving - len(starting))]:
            del self._ready[worker]
            if not self._runs_of[worker]:
                self._remove(worker, now)
            elif self._plant.grace < inf:
                self._schedule(now + self._plant.grace, _KILL, worker)

    def _victims(self) -> list[int]:
        """The ready workers in the order in which they go."""
        youngest_first = list(self._ready)[::-1]
        if self._plant.victims == "random":
            return sorted(youngest_first, key=lambda _: self._plant.chance())
        if self._plant.victims == "idle":
            return sorted(youngest_first, key=lambda worker: len(self._runs_of[worker]))
        return youngest_first

    def _remove(self, worker: int, moment: float) -> None:
        del self._runs_of[worker]
        self._worker_seconds += moment - self._requested_at.pop(worker)

    # --- observations ------------------------------------------------------------------------------------

    def _weighted(self, jobs: float) -> float:
        return jobs * self._load.weight

    def _sample(self, now: float) -> QueueSample:
        load = self._load
        due = bisect_right(load.at, now + DUE_SECONDS, lo=self._next) - self._next if load.announced else 0
        if self._known_retries:
            self._known_retries = [at for at in self._known_retries if at > now]
            due += sum(at <= now + DUE_SECONDS for at in self._known_retries)
        running = len(self._running)
        jumped = sum(attempts for at, attempts in self._plant.jumps if at <= now)
        busy = self._run_seconds + self._wasted_seconds + running * now - self._began_at_sum
        return QueueSample(
            at=now,
            waiting=self._weighted(len(self._waiting)),
            active=self._weighted(running),
            completed=self._weighted(self._completed) + jumped,
            failed=self._weighted(self._failed),
            duration_sum=self._weighted(self._run_seconds),
            duration_count=self._weighted(self._ended) + jumped,
            oldest_waiting=now - self._waiting[0][2] if self._waiting else None,
            due=self._weighted(due),
            busy_seconds=self._weighted(busy),
            held=self._weighted(len(self._waiting)) if self._paused(now) else 0.0,
            limit_seconds=self._limit_seconds(now),
            concurrency_limit=load.concurrency_limit,
        )

    def _observation(self, now: float, requested: int) -> Observation:
        if self._start_quantile is None and self._start_times:
            self._start_quantile = quantile(self._start_times, 0.9)
        samples = self._samples
        while len(samples) > 1 and samples[1].at <= now - self._plant.age:
            samples.popleft()
        readable = samples and samples[0].at <= now - self._plant.age
        idle = sum(not self._runs_of[worker] for worker in self._ready) if self._plant.knows_idle else None
        return Observation(
            now,
            requested,
            len(self._ready),
            samples[0] if readable else Missing("empty", "not scraped yet"),
            self._start_quantile,
            idle=idle,
        )

    def _report(self, slo: float, until: float) -> Report:
        waits = self._wait_times + [until - since for _, _, since in self._waiting]
        waits.sort()
        jobs = len(waits)
        running = len(self._running) * until - self._began_at_sum
        alive = sum(until - requested_at for requested_at in self._requested_at.values())
        return Report(
            jobs=self._weighted(jobs),
            over=(jobs - bisect_left(waits, slo + 1e-9)) / jobs if jobs else 0.0,
            waits={part: quantile(waits, part) or 0.0 for part in _QUANTILES},
            longest=waits[-1] if jobs else 0.0,
            worker_seconds=self._worker_seconds + alive,
            least_worker_seconds=(self._run_seconds + running) / self._slots,
            changes=self._changes,
            reversals=self._reversals,
            starts=self._starts,
            killed=self._weighted(self._killed),
            seconds=until,
            timeline=tuple(self._timeline),
        )
