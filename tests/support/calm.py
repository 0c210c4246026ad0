"""A load in which nothing is wrong, although it looks like it: restarts, pauses, limits, all kinds of queues.

Its times are those of a real load, multiplied by `factor` as the thresholds and the rules are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from exporter.config.health import Thresholds
from lab.bullmq import BullMQ

TICK: Final = 0.5
"""Seconds between two steps of the load."""
_AMOUNTS: Final = frozenset({"clock_offset_seconds"})  # of seconds, and no time that passes
_LOCK_MS: Final = 30_000
_RATE_LIMIT_MS: Final = 720_000  # longer than any threshold that looks at starts
_INTERVAL_MS: Final = 120_000


def threshold_seconds() -> dict[str, float]:
    """The times after which conditions are there, as they are shipped."""
    return {
        name: threshold.default
        for name, threshold in Thresholds.model_fields.items()
        if name.endswith("_seconds") and threshold.default is not None and name not in _AMOUNTS
    }


@dataclass
class CalmLoad:
    """`look` is called every TICK seconds, as a step of the load is done."""

    jobs: BullMQ
    factor: float
    workers: dict[str, list[int]] = field(default_factory=dict)
    steps: int = 0
    restarts: int = 0
    look: Callable[[], object] = lambda: None

    def begin(self) -> None:
        """All queues but one, which is new later."""
        jobs = self.jobs
        for queue in ("rolling", "rolling", "recreated", "bursts", "cron"):
            self.start_worker(queue, behaviour={"ms": 20})
        self.start_worker("empty")
        jobs.upsert_scheduler("cron", "report", every=int(_INTERVAL_MS * self.factor))
        self.start_worker("paused")
        jobs.pause("paused")
        jobs.add_bulk("paused", 5)
        limit = {"max": 1, "duration": int(_RATE_LIMIT_MS * self.factor)}
        self.start_worker("limited", limiter=limit)
        jobs.add_bulk("limited", 50)
        jobs.set_global_concurrency("one-by-one", 1)
        for _ in range(2):
            self.start_worker("one-by-one", behaviour={"hold": True})
        jobs.add_bulk("one-by-one", 5)
        self.start_worker("parent")
        self.start_worker("child", behaviour={"hold": True})
        child = {"name": "c", "queueName": "child", "data": {}}
        jobs.add_flow({"name": "p", "queueName": "parent", "data": {}, "children": [child]})
        self.start_worker("busy", behaviour={"hold": True})
        jobs.add("busy")
        jobs.wait_for_counts("busy", {"active": 1})
        jobs.add("busy", delay=200)
        self.start_worker("later")
        jobs.add("later", delay=3_600_000)
        jobs.add_bulk("nightly-report", 5)
        jobs.counts("nightly-mail")

    def step(self) -> None:
        """Jobs, and workers that are replaced."""
        number, self.steps = self.steps, self.steps + 1
        self.look()
        for queue in ("rolling", "recreated"):
            self.jobs.add_bulk(queue, 5)
        if number % 10 == 0:
            self.jobs.add_bulk("bursts", 200)
        for queue, period in {"rolling": 3, "recreated": 8}.items():
            if number % period == 0:
                self._replace_worker(queue)
        if number == 20:
            self.jobs.add_bulk("new", 5)
        if number == 22:
            self.start_worker("new")

    def run(self, seconds: float) -> None:
        """For so long: it is the time of the load."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step()
            time.sleep(TICK)

    def _replace_worker(self, queue: str) -> None:
        """The oldest ends, and a new one is there after a tick, which is 10 s of a real load."""
        self.jobs.stop_worker(self.workers[queue].pop(0))
        time.sleep(TICK)
        self.start_worker(queue, behaviour={"ms": 20})
        self.restarts += 1

    def start_worker(self, queue: str, **options: Any) -> None:
        lock = int(_LOCK_MS * self.factor)
        started = self.jobs.start_worker(queue, lockDuration=lock, stalledInterval=lock, **options)
        self.workers.setdefault(queue, []).append(started)
