"""Counts the workers: by the names of connections in CLIENT LIST, and by the locks of active jobs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from exporter.bullmq.clients import (
    BYTES_PER_CLIENT,
    LIST_BYTES,
    ClientNames,
    bytes_per_client,
    client_names,
    count_workers,
    sample_ids,
)
from exporter.bullmq.keys import base, is_python_name, worker_queues
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.queue_commands import Key, QueueCommands
from exporter.bullmq.search.ask import ask_owners, ask_packed
from exporter.bullmq.search.workers import SAMPLE, Traces, count_or_doubt, lockers_of, with_renewal
from exporter.config.settings import BullMQSettings
from exporter.redis.deployment import Deployment
from exporter.redis.info import parse_info, whole_number
from exporter.redis.protocol import Reply, ReplyError, pack_request
from exporter.snapshot.queues import QueueId
from service.clock import Deadline, monotonic
from service.outcome import Failed, Ok, Outcome

_POOL: Final = "discover"
_FEW: Final = 1000  # clients, whose list is short whatever their names are
_LOCKS: Final = 2000  # read at once, of all queues together


@dataclass(frozen=True)
class WorkerCounts:
    """The workers of each queue that is known to have some or none, and why the others' are not known."""

    counts: dict[QueueId, int] = field(default_factory=dict)
    unknown: dict[QueueId, str] = field(default_factory=dict)


class Census:
    """`read_clients` once in a round, then `count` for any queues."""

    def __init__(self, deployment: Deployment, settings: BullMQSettings) -> None:
        self._deployment = deployment
        self._prefixes = settings.prefixes
        self._bytes_per_client: dict[str, float] = {}
        self._nodes: list[ClientNames] = []
        self._traces: dict[QueueId, Traces] = {}
        self.refusal: str | None = "CLIENT LIST was not read yet"
        """Why some connections are not known; None if all are."""
        self.blind = True
        """Whether no node reports its connections."""

    def read_clients(self, slot_map: SlotMap, addresses: Iterable[str], deadline: Deadline) -> None:
        """Read CLIENT LIST of each node where it is small enough."""
        asked = pack_request([("INFO", "clients"), ("INFO", "stats")])
        infos = self._deployment.execute(dict.fromkeys(addresses, asked), deadline, pool=_POOL)
        self._sample(infos, deadline)
        refusals = []
        requests = {}
        for address, outcome in infos.items():
            if isinstance(outcome, Failed):
                # A node that is down has no clients; one that does not answer may have some.
                refusals += [] if outcome.kind == "unreachable" else [f"{address}: {outcome.message}"]
                continue
            size = _number(outcome.value[0], "connected_clients") * self._line(address)
            if size > LIST_BYTES:
                megabytes = size / (1 << 20)
                refusals.append(f"CLIENT LIST of {address} would be {megabytes:.0f} MB long: it is not read")
            else:
                requests[address] = pack_request([("CLIENT", "LIST")])
        self._nodes = []
        database = 0 if slot_map.cluster else self._deployment.database
        for address, outcome in self._deployment.execute(requests, deadline, pool=_POOL).items():
            reply = outcome.value[0] if isinstance(outcome, Ok) else None
            if isinstance(reply, bytes):
                self._bytes_per_client[address] = bytes_per_client(reply)
                self._nodes.append(client_names(reply, database))
            elif isinstance(reply, ReplyError):
                refusals.append(f"CLIENT LIST: {reply}")
            elif isinstance(outcome, Failed) and outcome.kind != "unreachable":
                refusals.append(f"{address}: {outcome.message}")
        self.blind = not self._nodes
        self.refusal = "; ".join(sorted(set(refusals))) or (
            "CLIENT LIST: no node answers" if self.blind else None
        )

    def named_queues(self) -> set[QueueId]:
        """The queues that the names of connections may mean."""
        names = {name for node in self._nodes for name in node.connections}
        return {queue for name in names for queue in worker_queues(name, self._prefixes)}

    def idle_queues(self) -> set[QueueId]:
        """The queues that need no key to exist: those of a worker that waits for jobs now, and under the
        prefixes of the settings those of any worker."""
        names = {
            name for node in self._nodes for name in (node.connections if self._prefixes else node.waiting)
        }
        return {meanings[0] for name in names if (meanings := worker_queues(name, self._prefixes))}

    def node_named(self) -> set[QueueId]:
        """The queues whose names are encoded in a connection's: they say where the prefix ends."""
        names = {name for node in self._nodes for name in node.connections}
        queues = {(name, queue) for name in names for queue in worker_queues(name, self._prefixes)[:1]}
        return {queue for name, queue in queues if not is_python_name(name, queue)}

    def elsewhere(self) -> frozenset[QueueId]:
        """The queues of the same prefix and name that have workers in another database."""
        names = {name for node in self._nodes for name in node.elsewhere}
        return frozenset(queue for name in names for queue in worker_queues(name, self._prefixes)[:1])

    def named(self, known: Collection[QueueId], *, cluster: bool) -> dict[QueueId, int]:
        """Workers by the names of connections."""
        return count_workers(self._nodes, self._prefixes, known, cluster=cluster)

    def count(
        self,
        queues: Collection[QueueId],
        slot_map: SlotMap,
        deadline: Deadline,
        *,
        turn: int = 0,
        turns: int = 1,
    ) -> WorkerCounts:
        """The workers of these queues. Reads the locks of active jobs where names leave doubt; of queues that
        were looked at before, and have as many connections, those of every `turns`-th."""
        workers = WorkerCounts()
        if self.blind:
            workers.unknown.update(dict.fromkeys(queues, self.refusal or ""))
            return workers
        named = self.named(queues, cluster=slot_map.cluster)
        doubtful = [queue for queue in queues if slot_map.cluster or not named.get(queue)]
        kept = {
            queue: before
            for queue in doubtful
            if hash(queue) % turns != turn
            and (before := self._traces.get(queue)) is not None
            and before.active is not None
            and before.check_ms is not None
            and before.named == named.get(queue, 0)
        }
        unread = [queue for queue in doubtful if queue not in kept]
        traces = kept | self._read_traces(unread, named, slot_map, deadline)
        for queue in queues:
            current = traces.get(queue) or Traces(named.get(queue, 0), monotonic())
            self._traces[queue] = current
            count = count_or_doubt(current, cluster=slot_map.cluster)
            if isinstance(count, int) and not count and self.refusal:
                count = self.refusal
            if isinstance(count, int):
                workers.counts[queue] = count
            else:
                workers.unknown[queue] = count
        return workers

    def forget_others(self, queues: Collection[QueueId]) -> None:
        self._traces = {queue: traces for queue, traces in self._traces.items() if queue in queues}

    def _line(self, address: str) -> float:
        return self._bytes_per_client.get(address, BYTES_PER_CLIENT)

    def _sample(self, infos: Mapping[str, Outcome[list[Reply]]], deadline: Deadline) -> None:
        """Learn the length of a line from some connections, before the first CLIENT LIST of a node with many.

        Redis before 6.2 lists no single connections: there the length is assumed.
        """
        requests = {}
        for address, outcome in infos.items():
            if isinstance(outcome, Ok) and address not in self._bytes_per_client:
                clients, stats = outcome.value
                newest = _number(stats, "total_connections_received")
                if _number(clients, "connected_clients") > _FEW and newest:
                    requests[address] = pack_request([("CLIENT", "LIST", "ID", *sample_ids(newest))])
        for address, outcome in self._deployment.execute(requests, deadline, pool=_POOL).items():
            reply = outcome.value[0] if isinstance(outcome, Ok) else None
            if isinstance(reply, bytes):
                self._bytes_per_client[address] = bytes_per_client(reply)

    def _read_traces(
        self, queues: list[QueueId], named: dict[QueueId, int], slot_map: SlotMap, deadline: Deadline
    ) -> dict[QueueId, Traces]:
        sample = max(1, min(SAMPLE, _LOCKS // max(1, len(queues))))
        look = QueueCommands(("LRANGE", Key("active"), 0, sample - 1), ("PTTL", Key("stalled-check")))
        looks = {queue: look.request(queue) for queue in queues}
        replies = ask_packed(self._deployment, slot_map, deadline, looks, pool=_POOL)
        at = monotonic()
        checks: dict[QueueId, int | None] = {}
        active: dict[QueueId, list[bytes] | None] = {}
        for queue, reply in replies.items():
            jobs, check = (None, None) if isinstance(reply, Failed) else reply
            active[queue] = (
                [job for job in jobs if isinstance(job, bytes)] if isinstance(jobs, list) else None
            )
            checks[queue] = check if isinstance(check, int) else None
        locks = ask_owners(
            self._deployment,
            slot_map,
            deadline,
            {
                queue: [
                    ("GET", b"%b%b:lock" % (base(queue).encode("utf-8", "surrogateescape"), job))
                    for job in jobs
                ]
                for queue, jobs in active.items()
                if jobs
            },
            pool=_POOL,
        )
        traces = {}
        for queue, ids in active.items():
            held = locks.get(queue, [])
            refused = isinstance(held, Failed) or any(isinstance(lock, ReplyError) for lock in held)
            current = Traces(
                named.get(queue, 0),
                at,
                None if ids is None or refused else len(ids),
                frozenset() if isinstance(held, Failed) else lockers_of(held),
                checks[queue],
            )
            traces[queue] = with_renewal(current, self._traces.get(queue))
        return traces


def _number(info: Reply, name: str) -> int:
    """A number of INFO; 0 if it is not there."""
    return (whole_number(parse_info(info), name) if isinstance(info, bytes) else None) or 0
