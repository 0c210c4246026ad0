"""Who has a job in hand, as BullMQ's own jobs tell."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.bullmq.busy import BusyWorkers
from lab.bullmq import BullMQ
from lab.cluster import LocalCluster
from lab.redis import RedisServer
from scaler.busy import WorkerJobs, idle_workers
from service.clock import Deadline
from service.outcome import UnreadableError
from tests.support.bullmq import WatchOf


def busy(
    watch: WatchOf, server_or_cluster: RedisServer | LocalCluster, *names: str, **bullmq: Any
) -> dict[str, int]:
    monitor = watch(server_or_cluster, **bullmq)
    monitor.read_all()
    busy_jobs = BusyWorkers(monitor.deployment, monitor.discovery).active_jobs(
        bullmq.get("prefixes", ["bull"])[0], names, Deadline.after(5)
    )
    assert not busy_jobs.cut_off
    return dict(busy_jobs.jobs) | ({"": busy_jobs.unnamed} if busy_jobs.unnamed else {})


@pytest.mark.parametrize("version", [5, 6])
def test_jobs_in_hand_are_counted_by_the_workers_name(
    server: RedisServer, watch: WatchOf, version: Any
) -> None:
    with BullMQ(version, url=server.url) as library:
        mail, video = f"busy-mail-{version}", f"busy-video-{version}"
        library.start_worker(mail, behaviour={"hold": True}, concurrency=3, name="pod-a")
        library.add_bulk(mail, 2)
        library.wait_for_counts(mail, {"active": 2})
        library.start_worker(video, behaviour={"hold": True}, concurrency=3)
        library.add_bulk(video, 1)
        library.wait_for_counts(video, {"active": 1})
        assert busy(watch, server, mail) == {"pod-a": 2}
        assert busy(watch, server, f"busy-*-{version}") == {"pod-a": 2, "": 1}


def test_the_jobs_of_a_worker_of_several_queues_are_added_up(server: RedisServer, watch: WatchOf) -> None:
    """One process with a BullMQ worker for each of its queues; both have the name of the pod."""
    with BullMQ(6, url=server.url) as library:
        for queue, jobs in (("busy-many-a", 2), ("busy-many-b", 1), ("busy-many-c", 0)):
            library.start_worker(queue, behaviour={"hold": True}, concurrency=3, name="shop-worker-x1")
            library.start_worker(queue, behaviour={"hold": True}, concurrency=3, name="shop-worker-x2")
            library.add_bulk(queue, jobs)
            library.wait_for_counts(queue, {"active": jobs})
        known = busy(watch, server, "busy-many-*")
        assert sum(known.values()) == 3
        assert known.keys() <= {"shop-worker-x1", "shop-worker-x2"}
        [ready, each] = 2, WorkerJobs(known, complete=True)
        assert idle_workers(each, "shop-worker-", ready) == ready - len(known)
        assert busy(watch, server, "busy-many-c") == {}, "a queue that is not asked for is not seen"


def test_in_a_cluster_each_queues_own_node_is_asked(redis_cluster: LocalCluster, watch: WatchOf) -> None:
    with BullMQ(6, cluster=redis_cluster.addresses, prefix="{busy}") as library:
        library.start_worker("mail", behaviour={"hold": True}, concurrency=2, name="pod-a")
        library.add_bulk("mail", 2)
        library.wait_for_counts("mail", {"active": 2})
        assert busy(watch, redis_cluster, "mail", prefixes=["{busy}"]) == {"pod-a": 2}


def test_a_queue_that_nobody_knows(server: RedisServer, watch: WatchOf) -> None:
    with pytest.raises(UnreadableError, match="no matching queue"):
        busy(watch, server, "nobody")
