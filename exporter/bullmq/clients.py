"""Counts the workers of each queue from the CLIENT LIST of all nodes. Without I/O."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from exporter.bullmq.keys import is_python_name
from exporter.snapshot.queues import QueueId

LIST_BYTES: Final = 7 << 20
"""The maximum size of a CLIENT LIST that we ask for: Redis holds all of it for us until we have read it."""
BYTES_PER_CLIENT: Final = 512
"""The assumed length of a line of CLIENT LIST where none was read; names make it longer."""

_NAME: Final = re.compile(rb" name=([^ \n]*:[^ \n]+) ([^\n]*)")
_DATABASE: Final = re.compile(rb"(?:^| )db=(\d{1,9}) ")
_COMMAND: Final = re.compile(rb" cmd=([^ \n]+)")
# In these an idle worker waits: BullMQ from 5, BullMQ before it, and Bull.
_WAITS: Final = frozenset({b"bzpopmin", b"brpoplpush", b"blmove"})
# What a client library sends on any connection, also that of a worker which never had to wait: a cluster's
# clients ask for the slots again and again. Any other command says that the connection is not the one that
# waits: Bull 3 gives all its connections, also those of producers, the name of a worker's.
_MANAGES: Final = frozenset(
    {b"info", b"client", b"hello", b"select", b"auth", b"ping", b"cluster", b"readonly", b"asking"}
)

_SAMPLED: Final = 256
_MARGIN: Final = 1.1


@dataclass
class ClientNames:
    """The connections of one node: how many have each name, how many of those ran last what no worker's
    connection runs, and how many what a worker waits in; and the names in other databases."""

    connections: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)
    elsewhere: set[str] = field(default_factory=set)

    def workers(self, name: str) -> int:
        """The connections of this name that are a worker's: all, or where some are not those that wait."""
        return self.waiting[name] if self.others[name] else self.connections[name]


def client_names(raw: bytes, database: int = 0) -> ClientNames:
    """The connections to this database whose names could be BullMQ's.

    A server that does not report the database of a connection counts it.
    """
    names = ClientNames()
    for raw_name, rest in _NAME.findall(raw):
        selected = _DATABASE.search(rest)
        name = raw_name.decode("utf-8", "surrogateescape")
        if selected is not None and int(selected[1]) != database:
            names.elsewhere.add(name)
            continue
        names.connections[name] += 1
        command = _COMMAND.search(rest)
        if command is None or command[1].partition(b"|")[0] in _MANAGES:
            continue
        kind = names.waiting if command[1] in _WAITS else names.others
        kind[name] += 1
    return names


def count_workers(
    nodes: Iterable[ClientNames],
    meanings_of: Callable[[str], Sequence[QueueId]],
    known: Collection[QueueId],
    *,
    cluster: bool = False,
) -> dict[QueueId, int]:
    """Workers per queue: the node with most of its connections counts, as in BullMQ's own getWorkers.

    Python's workers name more than one connection and are counted separately. `known` decides between the
    meanings (`meanings_of`, as `worker_queues`) of a name that is one queue's name as Python writes it and
    base64 of another as Node writes it.
    """
    workers_by_queue: dict[QueueId, int] = {}
    python: dict[tuple[QueueId, str], list[int]] = {}
    for names in nodes:
        workers_of_node: dict[QueueId, int] = {}
        for name, connections in names.connections.items():
            meanings = meanings_of(name)
            if not meanings:
                continue
            queue = next((meaning for meaning in meanings if meaning in known), meanings[0])
            if is_python_name(name, queue):
                python.setdefault((queue, name), []).append(connections)
            else:
                workers_of_node[queue] = workers_of_node.get(queue, 0) + names.workers(name)
        for queue, workers in workers_of_node.items():
            workers_by_queue[queue] = max(workers, workers_by_queue.get(queue, 0))
    for (queue, _), connections_by_node in python.items():
        workers_by_queue[queue] = workers_by_queue.get(queue, 0) + _python_workers(
            connections_by_node, cluster=cluster
        )
    return workers_by_queue


def sample_ids(newest: int) -> list[int]:
    """Some ids of connections, of which CLIENT LIST ID gives those that exist: the oldest, the newest (long
    connections and many short ones), and some between. `newest` is the highest."""
    step = max(1, newest // _SAMPLED)
    spread = range(1, newest + 1, step)
    ids = {*range(1, _SAMPLED // 2), *range(max(1, newest - _SAMPLED // 2), newest + 1), *spread}
    return sorted(number for number in ids if number <= newest)


def bytes_per_client(raw: bytes) -> float:
    """The mean length of a line of CLIENT LIST and a tenth, as the next one may be a little longer."""
    lines = raw.count(b"\n")
    return _MARGIN * len(raw) / lines if lines else BYTES_PER_CLIENT


def _python_workers(connections: list[int], *, cluster: bool) -> int:
    """The number of workers with these connections; one item for each node that has any.

    With one server a worker has two connections. In a cluster it has a pool: up to one connection for each
    running job at the node that holds the queue (here the busiest node), and one at each other node that it
    has ever used. Measured with 1 to 3 workers of concurrency 1 to 10, idle, busy and after they had lost all
    connections.
    """
    busiest_first = sorted(connections, reverse=True)
    return busiest_first[:2][-1] if cluster else (busiest_first[0] + 1) // 2
