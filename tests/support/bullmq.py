"""The exporter's reading of BullMQ's queues in real servers, without its threads."""

from __future__ import annotations

from collections.abc import Callable

from exporter.bullmq.bull.follow import BullFollower
from exporter.bullmq.collect import BullMQSource
from exporter.bullmq.discover import Discovery
from exporter.bullmq.schedulers.watch import SchedulerWatch
from exporter.bullmq.streams.follow import Follower
from exporter.bullmq.work import WorkHistory
from exporter.config.bullmq import BullMQSettings
from exporter.config.redis import RedisSettings
from exporter.redis.deployment import Deployment
from exporter.snapshot.queues import BullMQState, Events, QueueId, QueueState
from exporter.snapshot.schedulers import Scheduler
from lab.cluster import LocalCluster
from lab.deadline import wait_until
from lab.redis import RedisServer
from service.clock import Deadline, monotonic


class Watch:
    """The exporter's reading of one deployment's queues: discovery and collection, without its threads."""

    def __init__(self, redis: RedisSettings, bullmq: BullMQSettings) -> None:
        self.deployment = Deployment(redis)
        self.discovery = Discovery(self.deployment, bullmq)
        self.follower = Follower(self.deployment, bullmq)
        self.bull = BullFollower(self.deployment, bullmq)
        self.schedulers = SchedulerWatch(self.deployment, self.discovery, bullmq.schedulers)
        self.source = BullMQSource(self.deployment, self.discovery, bullmq, self.follower, self.schedulers)
        self.work = WorkHistory()

    def close(self) -> None:
        self.bull.stop()
        self.deployment.close()

    def read_all(self, seconds: float = 20) -> BullMQState:
        """Discover queues and workers, then collect."""
        self.discovery.discover_once(Deadline.after(seconds))
        return self.collect(seconds)

    def collect(self, seconds: float = 20) -> BullMQState:
        state = self.bull.extend(self.source.collect(Deadline.after(seconds)))
        return self.work.extend(monotonic(), state)

    def read_schedulers(self, name: str, prefix: str = "bull") -> dict[str, Scheduler]:
        """One round of the watch of schedulers; a queue's, by their ids."""
        self.discovery.discover_once(Deadline.after(20))
        self.schedulers.read(Deadline.after(20))
        read = self.collect().schedulers.get(QueueId(prefix, name))
        return {scheduler.id: scheduler for scheduler in (read.schedulers if read else ())}

    def follow(self) -> float:
        """One round of the follower, over the known queues."""
        known = self.discovery.known()
        self.bull.step(known.made_by("bull"), known.elsewhere)
        return self.follower.step(known.made_by("bullmq"))

    def events(self, name: str, prefix: str = "bull") -> Events:
        """Read one queue's stream to its current end, or what Bull publishes in a quarter of a second."""
        while self.follow() == 0.0:
            pass
        return (self.follower.events() | self.bull.events())[QueueId(prefix, name)]

    def queue(self, name: str, prefix: str = "bull") -> QueueState:
        """One queue, after discovery and a collection."""
        return of(self.read_all(), name, prefix)


WatchOf = Callable[..., Watch]


def names(state: BullMQState) -> list[tuple[str, str]]:
    """Every known queue, as (prefix, name)."""
    return sorted(
        [(queue.id.prefix, queue.id.name) for queue in state.queues]
        + [(key.prefix, key.name) for key in state.unread]
    )


def of(state: BullMQState, name: str, prefix: str = "bull") -> QueueState:
    queues = {queue.id: queue for queue in state.queues}
    return queues[QueueId(prefix, name)]


def bullmq_counts(counts: dict[str, int]) -> dict[str, int]:
    """getJobCounts() in the states of bullmq_job_count."""
    states = ("active", "delayed", "prioritized", "waiting-children", "completed", "failed")
    waiting = counts.get("waiting", 0) + counts.get("wait", 0) + counts.get("paused", 0)
    return {"waiting": waiting} | {state: counts.get(state, 0) for state in states}


def exporter_counts(queue: QueueState) -> dict[str, int | None]:
    return {
        "waiting": queue.jobs.waiting,
        "active": queue.jobs.active,
        "delayed": queue.jobs.delayed,
        "prioritized": queue.jobs.prioritized,
        "waiting-children": queue.jobs.waiting_children,
        "completed": queue.jobs.completed,
        "failed": queue.jobs.failed,
    }


NAMES = ("added", "started", "completed", "failed", "retried", "stalled", "removed", "deduplicated")


def counters(events: Events) -> dict[str, int]:
    return {name: value for name in NAMES if (value := getattr(events.counters, name))}


def watched(watch: WatchOf, server_or_cluster: RedisServer | LocalCluster, *names: str) -> Watch:
    """A watch of queues that are configured by name before they exist."""
    monitor = watch(server_or_cluster, queues=list(names))
    monitor.read_all()
    monitor.follow()
    return monitor


def wait_for(monitor: Watch, name: str, expected: dict[str, int], *, seconds: float = 15) -> Events:
    """Follow until the counters have these values, and a little longer: they must not change."""
    latest: list[Events] = []

    def reached() -> bool:
        latest[:] = [monitor.events(name)]
        return counters(latest[0]) == expected

    try:
        wait_until(reached, what=f"{name}: {expected}", seconds=seconds)
    except TimeoutError:
        assert counters(latest[0]) == expected, (latest[0], expected)
    return latest[0]
