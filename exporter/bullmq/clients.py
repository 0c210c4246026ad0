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
    nodes: Iterable[Mapping[str, int]], prefixes: Collection[str], known: Collection[QueueId]
) -> dict[QueueId, int]:
    """Workers per queue: the node that sees most of them counts, as in BullMQ's own getWorkers.

    A Python worker names both its connections, so two are one worker. `known` decides what a name means that
    is a queue's name in Python's way and base64 of another in Node's.
    """
    most: dict[QueueId, int] = {}
    for names in nodes:
        seen: dict[QueueId, int] = {}
        for name, connections in names.items():
            meanings = worker_queues(name, prefixes)
            if not meanings:
                continue
            queue = next((meaning for meaning in meanings if meaning in known), meanings[0])
            workers = (connections + 1) // 2 if is_python_name(name, queue) else connections
            seen[queue] = seen.get(queue, 0) + workers
        for queue, workers in seen.items():
            most[queue] = max(workers, most.get(queue, 0))
    return most
