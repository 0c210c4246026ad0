"""The actions of the running demo: they break something, or repair it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from deploy.demo.commands import DemoAction, RefusedError
from deploy.demo.parts import Demo
from deploy.demo.ports import NODES
from lab.driver import Driver
from lab.redis import RedisServer

MAIL: Final = "{mail}"
REMINDERS: Final = "{reminders}"

DOOMED_JOBS: Final = 150
"""More than the threshold of HighFailedJobs."""

BALLAST: Final = "ballast:{mail}"
BALLAST_SHARE: Final = 0.85
"""Ratio of maxmemory: more than the threshold of HighMemoryUsage."""


def kill_node(demo: Demo) -> str:
    victim = next_master(demo)
    victim.kill()
    return f"{victim.address}, a master, is killed; its replica takes over"


def hang_node(demo: Demo) -> str:
    victim = next_master(demo)
    victim.suspend()
    return (
        f"{victim.address}, a master, hangs: it accepts connections but does not answer; "
        "its replica takes over"
    )


def start_node(demo: Demo) -> str:
    lost = [node for node in demo.cluster.nodes if not node.answers]
    if not lost:
        raise RefusedError("every node runs")
    for node in lost:
        if node.process.suspended:
            node.resume()
        else:
            node.restart()
    demo.cluster.wait_until_ok()
    return f"{subject(lost)} back"


def stop_redis(demo: Demo) -> str:
    running = [node for node in demo.cluster.nodes if node.answers]
    if not running:
        raise RefusedError("no node runs; start-node starts all")
    for node in running:
        node.kill()
    return "every node is killed; the jobs are in their append-only files"


def stop_workers(demo: Demo) -> str:
    queue_driver(demo).call("stop_workers", queue=MAIL, seconds=10)
    return f"{MAIL} has no workers; its jobs wait"


def start_workers(demo: Demo) -> str:
    queue_driver(demo).call("start_workers", queue=MAIL, seconds=10)
    return f"{MAIL} has workers again"


def fail_jobs(demo: Demo) -> str:
    queue_driver(demo).call("fail_jobs", queue=REMINDERS, count=DOOMED_JOBS, seconds=10)
    return f"{DOOMED_JOBS} jobs of {REMINDERS} fail now"


def clear_failed(demo: Demo) -> str:
    cleared = queue_driver(demo).call("clear_failed", queue=REMINDERS, seconds=10)
    hour = 3600 / demo.divisor
    return f"{cleared} failed jobs of {REMINDERS} are removed; the alert also counts the last {hour:.0f} s"


def fill_memory(demo: Demo) -> str:
    owner = ballast_owner(demo)
    limit = int(owner.facts("info", "memory")["maxmemory"])
    size = int(limit * BALLAST_SHARE)
    owner.cli("setrange", BALLAST, size, "x")
    return f"{owner.address} holds {size >> 20} MiB of {limit >> 20}, and its replica too"


def free_memory(demo: Demo) -> str:
    owner = ballast_owner(demo)
    owner.cli("del", BALLAST)
    return f"{owner.address} and its replica hold only jobs again"


ACTIONS: Final = (
    DemoAction("kill-node", "kill a Redis master", "ClusterNodeDown", kill_node),
    DemoAction("hang-node", "suspend a Redis master", "ClusterNodeDown", hang_node),
    DemoAction("stop-redis", "kill every Redis node", "RedisConnectionDown", stop_redis),
    DemoAction("start-node", "start every Redis node that was killed or hangs", "", start_node),
    DemoAction("stop-workers", f"stop the workers of {MAIL}", "QueueSystemDown", stop_workers),
    DemoAction("start-workers", f"start the workers of {MAIL} again", "", start_workers),
    DemoAction("fail-jobs", f"add {DOOMED_JOBS} jobs to {REMINDERS} that fail", "HighFailedJobs", fail_jobs),
    DemoAction("clear-failed", f"remove the failed jobs of {REMINDERS}", "", clear_failed),
    DemoAction("fill-memory", "fill a Redis master and its replica", "HighMemoryUsage", fill_memory),
    DemoAction("free-memory", "free the memory again", "", free_memory),
)


def next_master(demo: Demo) -> RedisServer:
    """A master to kill; refused while a node is down, since the second could be the other's replica."""
    lost = [node for node in demo.cluster.nodes if not node.answers]
    if lost:
        raise RefusedError(f"{subject(lost)} down already; start-node first")
    return demo.cluster.masters()[0]


def queue_driver(demo: Demo) -> Driver:
    """The driver of the queues; refused without Redis, since BullMQ would wait until it is back."""
    if not any(node.answers for node in demo.cluster.nodes):
        raise RefusedError("no Redis node answers; start-node first")
    return demo.queues


def ballast_owner(demo: Demo) -> RedisServer:
    """The master that owns the ballast's slot."""
    try:
        return demo.cluster.owner_of(BALLAST)
    except StopIteration:
        raise RefusedError("no Redis node serves its slot; start-node first") from None


def subject(nodes: Sequence[RedisServer]) -> str:
    """The nodes as the subject of a sentence, with its verb."""
    if len(nodes) == NODES:
        return "every node is"
    return f"{', '.join(node.address for node in nodes)} {'is' if len(nodes) == 1 else 'are'}"
