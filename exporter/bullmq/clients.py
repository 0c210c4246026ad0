"""CLIENT LIST of all nodes -> how many workers each queue has. Without I/O."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from exporter.bullmq.keys import is_python_name, worker_queues
from exporter.snapshot import QueueId

_NAME = re.compile(rb" name=([^ \n]+:[^ \n]+) ")


def client_names(raw: bytes) -> Counter[str]:
    """How many connections carry each name that could be BullMQ's."""
    return Counter(name.decode("utf-8", "surrogateescape") for name in _NAME.findall(raw))


def count_workers(
    nodes: Iterable[Mapping[str, int]],
    prefixes: Collection[str],
    known: Collection[QueueId],
    *,
    cluster: bool = False,
) -> dict[QueueId, int]:
    """Workers per queue: the node that sees most of them counts, as in BullMQ's own getWorkers.

    Python's workers name more connections than one and are counted apart. `known` decides what a name means
    that is a queue's name in Python's way and base64 of another in Node's.
    """
    most: dict[QueueId, int] = {}
    python: dict[tuple[QueueId, str], list[int]] = {}
    for names in nodes:
        seen: dict[QueueId, int] = {}
        for name, connections in names.items():
            meanings = worker_queues(name, prefixes)
            if not meanings:
                continue
            queue = next((meaning for meaning in meanings if meaning in known), meanings[0])
            if is_python_name(name, queue):
                python.setdefault((queue, name), []).append(connections)
            else:
                seen[queue] = seen.get(queue, 0) + connections
        for queue, workers in seen.items():
            most[queue] = max(workers, most.get(queue, 0))
    for (queue, _), connections_by_node in python.items():
        most[queue] = most.get(queue, 0) + _python_workers(connections_by_node, cluster=cluster)
    return most


def _python_workers(connections: list[int], *, cluster: bool) -> int:
    """How many workers have these connections, one number for each node that sees any.

    With one server a worker has two. In a cluster it has a pool: up to one for each job that it runs at the
    node that holds the queue (the busiest here), and one at each other node that it has ever talked to.
    Measured with 1 to 3 workers of concurrency 1 to 10, idle, busy and after they had lost all connections.
    """
    busiest_first = sorted(connections, reverse=True)
    return busiest_first[:2][-1] if cluster else (busiest_first[0] + 1) // 2
