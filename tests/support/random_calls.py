"""Queues under calls of all kinds, at random, and what two ways of counting say of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from exporter.bullmq.streams.follow import Follower
from exporter.bullmq.streams.stream import Stream
from exporter.snapshot.queues import BullMQState, QueueId, QueueState
from lab.driver import Driver, DriverError

_AGES: Final = (
    "oldest_waiting",
    "longest_active",
    "longest_overdue",
    "longest_waiting_children",
    "rate_limit_ttl",
)
_OF_DISCOVERY: Final = ("workers", "workers_unknown")  # counted in the background, and doubted by starts
AGE_SECONDS: Final = 0.2
HOUR_MS: Final = 3_600_000


class CountingAll(Follower):
    """Follows the streams, but never says that a queue did not move."""

    def streams(self) -> Mapping[QueueId, Stream]:
        return {}


@dataclass
class RandomCalls:
    """Calls of one library on some queues. What a version does not have is left out once it has refused."""

    driver: Driver
    queues: list[str]
    random: random.Random
    workers: dict[str, int] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    made: int = 0

    def step(self) -> str:
        """One call on one queue; its name."""
        queue = self.random.choice(self.queues)
        calls = {name: call for name, call in CALLS.items() if name not in self.refused}
        name = self.random.choice(sorted(calls))
        try:
            calls[name](self, queue)
        except (DriverError, TimeoutError):
            if name in _NOT_ALL_VERSIONS:
                self.refused.add(name)
        self.made += 1
        return f"{name} {queue}"

    def add(self, queue: str, **opts: Any) -> None:
        self.driver.add(queue, jobId=f"job-{self.random.randrange(12)}", **opts)

    def job(self, queue: str, method: str, *arguments: Any) -> None:
        """A method of a job that may or may not be there."""
        self.driver.job(queue, f"job-{self.random.randrange(12)}", method, *arguments)

    def work(self, queue: str, behaviour: Mapping[str, object]) -> None:
        """A worker that ends what it can, or holds some jobs until it is stopped."""
        self.stop(queue)
        self.workers[queue] = self.driver.start_worker(queue, behaviour=behaviour, concurrency=2)

    def stop(self, queue: str, *, force: bool = False) -> None:
        worker = self.workers.pop(queue, None)
        if worker is not None:
            self.driver.stop_worker(worker, force=force)


CALLS: Final[Mapping[str, Callable[[RandomCalls, str], object]]] = {
    "add": lambda calls, queue: calls.add(queue),
    "addBulk": lambda calls, queue: calls.driver.add_bulk(queue, calls.random.randrange(1, 9)),
    "add delayed": lambda calls, queue: calls.add(queue, delay=HOUR_MS),
    "add delayed a little": lambda calls, queue: calls.add(queue, delay=calls.random.randrange(200, 5000)),
    "add prioritized": lambda calls, queue: calls.add(queue, priority=calls.random.randrange(1, 9)),
    "add lifo": lambda calls, queue: calls.add(queue, lifo=True),
    "add that goes when it ends": lambda calls, queue: calls.add(
        queue, removeOnComplete=True, removeOnFail=True
    ),
    "add with attempts": lambda calls, queue: calls.add(queue, attempts=2, backoff=400),
    "pause": lambda calls, queue: calls.driver.pause(queue),
    "resume": lambda calls, queue: calls.driver.resume(queue),
    "drain": lambda calls, queue: calls.driver.drain(queue),
    "obliterate": lambda calls, queue: calls.driver.obliterate(queue),
    "clean": lambda calls, queue: calls.driver.queue(
        queue, "clean", 0, 5, calls.random.choice(["completed", "failed"])
    ),
    "retryJobs": lambda calls, queue: calls.driver.queue(queue, "retryJobs", {"state": "failed"}),
    "promoteJobs": lambda calls, queue: calls.driver.queue(queue, "promoteJobs"),
    "remove": lambda calls, queue: calls.job(queue, "remove"),
    "promote": lambda calls, queue: calls.job(queue, "promote"),
    "changePriority": lambda calls, queue: calls.job(
        queue, "changePriority", {"priority": calls.random.choice([0, 3, 8])}
    ),
    "changeDelay": lambda calls, queue: calls.job(queue, "changeDelay", 60_000),
    "setGlobalConcurrency": lambda calls, queue: calls.driver.set_global_concurrency(
        queue, calls.random.randrange(1, 5)
    ),
    "setGlobalRateLimit": lambda calls, queue: calls.driver.queue(queue, "setGlobalRateLimit", 3, 1500),
    "rateLimit": lambda calls, queue: calls.driver.queue(
        queue, "rateLimit", calls.random.choice([400, 30_000])
    ),
    "removeRateLimitKey": lambda calls, queue: calls.driver.queue(queue, "removeRateLimitKey"),
    "upsertJobScheduler": lambda calls, queue: calls.driver.upsert_scheduler(queue, "hourly", every=HOUR_MS),
    "removeJobScheduler": lambda calls, queue: calls.driver.queue(queue, "removeJobScheduler", "hourly"),
    "flow": lambda calls, queue: calls.driver.add_flow(
        {
            "name": "parent",
            "queueName": queue,
            "data": {},
            "children": [{"name": "child", "queueName": calls.random.choice(calls.queues), "data": {}}],
        }
    ),
    "worker completes": lambda calls, queue: calls.work(queue, {}),
    "worker fails": lambda calls, queue: calls.work(queue, {"fail": True}),
    "worker holds": lambda calls, queue: calls.work(queue, {"hold": True}),
    "worker stops": lambda calls, queue: calls.stop(queue),
    "worker is killed": lambda calls, queue: calls.stop(queue, force=True),
}
_NOT_ALL_VERSIONS: Final = frozenset(
    {"promoteJobs", "setGlobalConcurrency", "setGlobalRateLimit", "rateLimit", "removeRateLimitKey"}
    | {"upsertJobScheduler", "removeJobScheduler", "changePriority", "add lifo", "retryJobs", "clean"}
)


def differences(ours: BullMQState, truth: BullMQState) -> list[str]:
    """Each sample of a queue that is not the same; ages may differ by `AGE_SECONDS`."""
    texts = (
        [f"queues: {ours.by_id.keys() ^ truth.by_id.keys()}"]
        if ours.by_id.keys() != truth.by_id.keys()
        else []
    )
    for queue in truth.queues:
        mine = ours.by_id.get(queue.id)
        texts += [] if mine is None else [f"{queue.id.name}: {text}" for text in _differences(mine, queue)]
    still_ours, still_truly = (
        {key for key, work in (state.work or {}).items() if work.standing is not None}
        for state in (ours, truth)
    )
    # Whether a queue stands still follows from its workers, which each of the two doubts for itself.
    return texts + [
        f"{key.name}: it stands still for {'us' if key in still_ours else 'the other'} alone"
        for key in still_ours ^ still_truly
        if key in ours.by_id and key in truth.by_id and ours.by_id[key].workers == truth.by_id[key].workers
    ]


def _differences(mine: QueueState, truth: QueueState) -> list[str]:
    texts = []
    for name in (name for name in truth._fields if name not in _OF_DISCOVERY):
        ours, theirs = getattr(mine, name), getattr(truth, name)
        if name in _AGES and ours is not None and theirs is not None:
            if abs(ours - theirs) > AGE_SECONDS:
                texts.append(f"{name}: {ours} is not {theirs}")
        elif ours != theirs:
            texts.append(f"{name}: {ours} is not {theirs}")
    return texts
