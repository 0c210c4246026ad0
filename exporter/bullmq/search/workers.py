"""How many workers a queue has, or why that is not known. Without I/O.

A worker's connection has the queue's name, except where Redis refused it (it has spaces or letters that are
not ASCII), or where the library loses it (BullMQ 4.0 to 5.66 in a cluster). So no name is no proof: a lock of
an active job has its worker's id and lives for 30 s, and `stalled-check` is renewed by every running worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import Final, NamedTuple

from exporter.snapshot.queues import QueueId

SAMPLE: Final = 100
"""The maximum number of active jobs of a queue whose locks are read."""

_SLACK_MS: Final = 2000
_SPARE_SECONDS: Final = 30.0
_DOUBT_SECONDS: Final = 60.0
_STARTED: Final = "no connection has the queue's name, and its jobs are started"


class Traces(NamedTuple):
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
        return traces._replace(renewed=True) if check >= 0 else traces
    if before.named or before.check_ms is None:
        return traces
    left = before.check_ms - (traces.at - before.at) * 1000
    until = before.proved_until
    if check > max(0.0, left) + _SLACK_MS:
        until = traces.at + 2 * check / 1000 + _SPARE_SECONDS
    renewed = traces.at < until or (before.renewed and check >= 0)
    return traces._replace(renewed=renewed, proved_until=until) if renewed or until else traces


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
        self._looked_at = -inf
        self._started: dict[QueueId, int] = {}
        self._until: dict[QueueId, float] = {}

    def doubts(self, started: Mapping[QueueId, int], looked_at: float, at: float) -> dict[QueueId, str]:
        """Why the number of workers is not known, of some of the queues that have none by name; the others
        have none. Queues that are not among these are forgotten: they have workers, or are gone.

        `started`: how many jobs were, in all; `looked_at`: when the connections were read, `at`: now, both in
        s of one clock.
        """
        before = self._started
        if looked_at > self._looked_at:
            more = [queue for queue, count in started.items() if count > before.get(queue, count)]
            self._until.update(dict.fromkeys(more, at + _DOUBT_SECONDS))
            self._looked_at, self._started = looked_at, dict(started)
        elif before.keys() != started.keys():
            self._started = {queue: before.get(queue, count) for queue, count in started.items()}
        self._until = {
            queue: until for queue, until in self._until.items() if at < until and queue in started
        }
        return dict.fromkeys(self._until, _STARTED)
