"""How many workers a queue has, or why that is not known. Without I/O.

A worker's connection has the queue's name, except where Redis refused it (it has spaces or letters that are
not ASCII), or where the library loses it (BullMQ 4.0 to 5.66 in a cluster). So no name is no proof: a lock of
an active job has its worker's id and lives for 30 s, and `stalled-check` is renewed by every running worker.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final

from exporter.snapshot.queues import QueueId

SAMPLE: Final = 100
"""The maximum number of active jobs of a queue whose locks are read."""

_SLACK_MS: Final = 2000
_SPARE_SECONDS: Final = 30.0
_DOUBT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Traces:
    """What workers left in Redis, at one look.

    `named`: workers by connection names. `active`: the active jobs that were looked at; `lockers`: the ids in
    their locks. `check_ms`: what remains of `stalled-check`, below 0 without it; None: not read. `at`: in s.
    `renewed`: a worker without a name seems to be there; until `proved_until` (in s) as it was seen to renew.
    """

    named: int
    at: float
    active: int | None = None
    lockers: frozenset[bytes] = frozenset()
    check_ms: int | None = None
    renewed: bool = False
    proved_until: float = 0.0


def locker(lock: bytes) -> bytes:
    """The worker's id in the value of a lock: BullMQ appends a number for each job, Bull does not."""
    worker, _, number = lock.rpartition(b":")
    return worker if worker and number.isdigit() else lock


def with_renewal(traces: Traces, before: Traces | None) -> Traces:
    """These traces, and whether a worker without a name renews `stalled-check`.

    It does if neither look saw a named worker and the key expires later than it would have. A single
    worker may leave an interval out: its timer comes as the key expires, and if just before, it sets
    none. So what was seen holds for two intervals. At a first look a key that exists may be renewed by
    one, until it is gone.
    """
    check = traces.check_ms
    if check is None or traces.named:
        return traces
    if before is None:
        return replace(traces, renewed=check >= 0)
    if before.named or before.check_ms is None:
        return traces
    left = before.check_ms - (traces.at - before.at) * 1000
    until = before.proved_until
    if check > max(0.0, left) + _SLACK_MS:
        until = traces.at + 2 * check / 1000 + _SPARE_SECONDS
    return replace(traces, renewed=traces.at < until or (before.renewed and check >= 0), proved_until=until)


def count_or_doubt(traces: Traces, *, cluster: bool) -> int | str:
    """The number of workers, or why it is not known.

    In a cluster the busiest node's names may be too few, as a busy worker has a named connection at one node
    only: there the locks count too.
    """
    if traces.named:
        return max(traces.named, len(traces.lockers)) if cluster else traces.named
    if traces.lockers:
        many = len(traces.lockers)
        holders = "1 worker or more holds" if many == 1 else f"{many} workers or more hold"
        return f"no connection has the queue's name, and {holders} locks of active jobs"
    if traces.active is None or traces.check_ms is None:
        return "no connection has the queue's name, and the locks of its jobs could not be read"
    if traces.renewed:
        return "no connection has the queue's name, and a worker renews its stalled-check"
    return 0


def lockers_of(locks: Iterable[object]) -> frozenset[bytes]:
    """The ids in those locks that exist."""
    return frozenset(locker(lock) for lock in locks if isinstance(lock, bytes))


class StartsWithoutWorkers:
    """Notices jobs that are started where no connection has the queue's name: someone starts them.

    One whose two last looks at the connections saw no worker, while jobs were started between them, is in
    doubt; and for a minute after, as its jobs may come seldom.
    """

    def __init__(self) -> None:
        self._since: dict[QueueId, tuple[float, int]] = {}
        self._until: dict[QueueId, float] = {}

    def doubt(self, queue: QueueId, looked_at: float, started: int, at: float) -> str:
        """Why the number of workers of this queue, which has none by name, is not known; empty: it has none.

        `looked_at`: when the connections were read, `at`: now, both in s of one clock; `started`: a counter.
        """
        before, count = self._since.setdefault(queue, (looked_at, started))
        if looked_at > before:
            if started > count:
                self._until[queue] = at + _DOUBT_SECONDS
            self._since[queue] = (looked_at, started)
        if at < self._until.get(queue, 0.0):
            return "no connection has the queue's name, and its jobs are started"
        return ""

    def keep(self, queues: Collection[QueueId]) -> None:
        """Forget the other queues: they have workers, or are gone."""
        for state in (self._since, self._until):
            for queue in state.keys() - queues:
                del state[queue]
