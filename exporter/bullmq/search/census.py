"""Counts the workers: by the names of connections in CLIENT LIST, and by the locks of active jobs.

The connections of all are read at once. The locks are read of some queues at a time, where names leave doubt;
a queue keeps its count until then, unless connections with its name came or went.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
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
from exporter.bullmq.queue_commands import Key
from exporter.bullmq.search.ask import ask_packed
from exporter.bullmq.search.workers import SAMPLE, Traces, count_or_doubt, lockers_of, with_renewal
from exporter.config.bullmq import BullMQSettings
from exporter.redis.deployment import Deployment
from exporter.redis.info import parse_info, whole_number
from exporter.redis.protocol import Argument, Reply, ReplyError, Request, pack_request
from exporter.snapshot.queues import QueueId
from service.clock import Deadline, monotonic
from service.outcome import Failed, Ok, Outcome

_POOL: Final = "discover"
_FEW: Final = 1000  # clients, whose list is short whatever their names are
_LOCKS: Final = 2000  # read at once, of all queues together
_NOBODY: Final[frozenset[bytes]] = frozenset()


class Census:
    """`read_clients` and `recount` once in a round, `take` what was read of some queues. `counts` has the
    workers of each queue that is known to have some or none, `unknown` why the others' are not known."""

    def __init__(self, deployment: Deployment, settings: BullMQSettings) -> None:
        self._deployment = deployment
        self._prefixes = settings.prefixes
        self._bytes_per_client: dict[str, float] = {}
        self._nodes: list[ClientNames] = []
        self._named: dict[QueueId, int] = {}
        self._meanings: dict[str, tuple[QueueId, ...]] = {}
        self._other_meanings: set[QueueId] = set()
        self._traces: dict[QueueId, Traces] = {}
        self._unread: set[QueueId] = set()  # of which the last look at the locks failed
        self._counted_with: str | None = None
        self.counts: dict[QueueId, int] = {}
        self.unknown: dict[QueueId, str] = {}
        self.changes = 0
        """How often these two have changed."""
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
        self._know_meanings()
        self.blind = not self._nodes
        self.refusal = "; ".join(sorted(set(refusals))) or (
            "CLIENT LIST: no node answers" if self.blind else None
        )

    def named_queues(self) -> set[QueueId]:
        """The queues that the names of connections may mean."""
        return {queue for node in self._nodes for name in node.connections for queue in self._meanings[name]}

    def idle_queues(self) -> set[QueueId]:
        """The queues that need no job to exist, but what workers leave: those of a worker that waits for jobs
        now, and under the prefixes of the settings those of any worker."""
        return {
            meanings[0]
            for node in self._nodes
            for name in (node.connections if self._prefixes else node.waiting)
            if (meanings := self._meanings[name])
        }

    def node_named(self) -> set[QueueId]:
        """The queues whose names are encoded in a connection's: they say where the prefix ends."""
        return {
            queue
            for node in self._nodes
            for name in node.connections
            for queue in self._meanings[name][:1]
            if not is_python_name(name, queue)
        }

    def elsewhere(self) -> frozenset[QueueId]:
        """The queues of the same prefix and name that have workers in another database."""
        names = {name for node in self._nodes for name in node.elsewhere}
        return frozenset(queue for name in names for queue in self._meanings[name][:1])

    def _know_meanings(self) -> None:
        """Of the names of now; what one means is worked out once, as thousands of workers stay connected."""
        before = self._meanings
        names = {name for node in self._nodes for name in (*node.connections, *node.elsewhere)}
        self._meanings = {
            name: before[name] if name in before else worker_queues(name, self._prefixes) for name in names
        }
        self._other_meanings = {queue for meanings in self._meanings.values() for queue in meanings[1:]}

    def workers_named(self, queue: QueueId) -> int:
        """Workers by the names of connections."""
        return self._named.get(queue, 0)

    def learn(self, found: Collection[QueueId], known: Collection[QueueId], *, cluster: bool) -> None:
        """These were found since the last `recount`; `known` decides what a name means."""
        if not self._other_meanings.isdisjoint(found):
            self._named = count_workers(self._nodes, self._meanings.__getitem__, known, cluster=cluster)

    def recount(
        self, queues: Collection[QueueId], known: Collection[QueueId], *, cluster: bool
    ) -> list[QueueId]:
        """Count these queues again by the clients that were read; returns those whose locks are to be read
        before their turn: of other connections than before, or not read yet."""
        before, self._named = (
            self._named,
            count_workers(self._nodes, self._meanings.__getitem__, known, cluster=cluster),
        )
        if self.blind:
            self.counts, self.unknown = {}, dict.fromkeys(queues, self.refusal or "")
            self.changes += 1
            self._unread, self._counted_with = set(queues), self.refusal
            return []
        changed = {queue for queue, _ in self._named.items() ^ before.items()}
        again = (changed | self._unread).intersection(queues)
        again.update([queue for queue in queues if queue not in self._traces])
        look = self.in_doubt(again, cluster=cluster)
        self._count_named(again.difference(look), cluster=cluster)
        if self.refusal != self._counted_with:
            self._counted_with = self.refusal
            for queue in self._traces.keys() & queues:
                self._count(queue, cluster=cluster)
        return look

    def in_doubt(self, queues: Iterable[QueueId], *, cluster: bool) -> list[QueueId]:
        """Those of which names alone do not say how many workers there are."""
        if self.blind:
            return []
        named = self._named
        return [queue for queue in queues if cluster or not named.get(queue)]

    def take(
        self,
        queues: Collection[QueueId],
        looks: Mapping[QueueId, Sequence[Reply] | Failed],
        slot_map: SlotMap,
        deadline: Deadline,
    ) -> None:
        """Count these queues; `looks`: of those in doubt, the replies to `look_commands`."""
        if self.blind:
            self.unknown |= dict.fromkeys(queues, self.refusal or "")
            self.changes += 1
            return
        cluster = slot_map.cluster
        if looks:
            for queue, traces in self._read_locks(looks, slot_map, deadline).items():
                self._traces[queue] = traces
                if traces.active is None or traces.check_ms is None:
                    self._unread.add(queue)
                else:
                    self._unread.discard(queue)
                self._count(queue, cluster=cluster)
        self._count_named([queue for queue in queues if queue not in looks], cluster=cluster)

    def _count_named(self, queues: Iterable[QueueId], *, cluster: bool) -> None:
        at = monotonic()
        for queue in queues:
            named, before = self._named.get(queue, 0), self._traces.get(queue)
            if before is None or before.named != named or before.active is not None:
                self._traces[queue] = Traces(named, at)
                self._unread.discard(queue)
                self._count(queue, cluster=cluster)

    def _count(self, queue: QueueId, *, cluster: bool) -> None:
        count = count_or_doubt(self._traces[queue], cluster=cluster)
        if isinstance(count, int) and not count and self.refusal:
            count = self.refusal
        if isinstance(count, int):
            if self.counts.get(queue) == count:
                return
            self.counts[queue] = count
            self.unknown.pop(queue, None)
        else:
            self.unknown[queue] = count
            self.counts.pop(queue, None)
        self.changes += 1

    def keep_only(self, queues: Collection[QueueId]) -> None:
        """Forget the others."""
        self.forget([queue for queue in self._traces if queue not in queues])

    def forget(self, queues: Iterable[QueueId]) -> None:
        for queue in queues:
            self._traces.pop(queue, None)
            self._unread.discard(queue)
            self.counts.pop(queue, None)
            self.unknown.pop(queue, None)
            self.changes += 1

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

    def _read_locks(
        self, looks: Mapping[QueueId, Sequence[Reply] | Failed], slot_map: SlotMap, deadline: Deadline
    ) -> dict[QueueId, Traces]:
        at = monotonic()
        active: dict[QueueId, list[bytes]] = {}
        for queue, reply in looks.items():
            jobs = None if isinstance(reply, Failed) else reply[0]
            if isinstance(jobs, list):
                active[queue] = [job for job in jobs if isinstance(job, bytes)]
        requests = {queue: _locks(queue, jobs) for queue, jobs in active.items() if jobs}
        locks = ask_packed(self._deployment, slot_map, deadline, requests, pool=_POOL) if requests else {}
        traces = {}
        for queue, reply in looks.items():
            ids, held = active.get(queue), locks.get(queue, ())
            check = None if isinstance(reply, Failed) else reply[1]
            refused = isinstance(held, Failed) or any(isinstance(lock, ReplyError) for lock in held)
            lockers = lockers_of(held) if held and not isinstance(held, Failed) else _NOBODY
            current = Traces(
                self._named.get(queue, 0),
                at,
                None if ids is None or refused else len(ids),
                lockers or _NOBODY,  # the same for all that have none
                check if isinstance(check, int) else None,
            )
            traces[queue] = with_renewal(current, self._traces.get(queue))
        return traces


def look_commands(together: int) -> tuple[tuple[Argument, ...], ...]:
    """What is asked of a queue in doubt, where so many are read together: some active jobs, whose locks have
    their workers' ids, and how long `stalled-check` remains."""
    sample = max(1, min(SAMPLE, _LOCKS // max(1, together)))
    return ("LRANGE", Key("active"), 0, sample - 1), ("PTTL", Key("stalled-check"))


def _locks(queue: QueueId, jobs: Sequence[bytes]) -> Request:
    """GET of the locks of these jobs."""
    start = base(queue).encode("utf-8", "surrogateescape")
    keys = [b"%b%b:lock" % (start, job) for job in jobs]
    return Request(
        b"".join([b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key) for key in keys]), len(keys)
    )


def _number(info: Reply, name: str) -> int:
    """A number of INFO; 0 if it is not there."""
    return (whole_number(parse_info(info), name) if isinstance(info, bytes) else None) or 0
