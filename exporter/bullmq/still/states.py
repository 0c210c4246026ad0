"""The states of queues, from what was counted and what discovery knows. No I/O and no clock.

A state is put together again where one of these changed; else only its ages go on. Of ten thousand queues
most do nothing most of the time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

from exporter.bullmq.counts import Counts
from exporter.bullmq.details import Read, Since
from exporter.snapshot.queues import Library, QueueId, QueueState

WorkerSettings: TypeAlias = tuple[float, int | None]
"""Capacity and concurrency of one worker."""
_new_tuple: Final = tuple.__new__


class QueueFacts(NamedTuple):
    """What discovery knows of all queues: their workers (None: nobody tells), what made them, and why the
    workers of some are not known."""

    workers: Mapping[QueueId, int] | None = None
    libraries: Mapping[QueueId, Library] = {}
    workers_unknown: Mapping[QueueId, str] = {}


class QueueStates:
    """Keeps the states without their ages. `aging` has the queues that have some, and what these follow from;
    `without_workers` those that are known to have no worker."""

    def __init__(self) -> None:
        self.aging: dict[QueueId, Since] = {}
        self.without_workers: dict[QueueId, None] = {}
        self._states: dict[QueueId, QueueState] = {}
        self._reads: Mapping[QueueId, Read] = {}
        self._known = QueueFacts()
        self._settings: Mapping[QueueId, WorkerSettings] = {}

    def update(
        self,
        reads: Mapping[QueueId, Read],
        known: QueueFacts,
        settings: Mapping[QueueId, WorkerSettings],
    ) -> set[QueueId]:
        """Take what was read of all queues; those of which more than an age is not as it was, or that are
        gone."""
        states, before = self._states, self._reads.get
        # In the order of the queues, as thousands of objects in memory are walked through in it.
        renewed = dict.fromkeys([queue for queue, read in reads.items() if before(queue) is not read])
        renewed |= dict.fromkeys(self._known_otherwise(reads, known, settings))
        changed = set(states.keys() - reads.keys())
        for queue in changed:
            del states[queue]
            self.aging.pop(queue, None)
            self.without_workers.pop(queue, None)
        for queue in renewed:
            counts, since, _ = reads[queue]
            state = _state(queue, counts, known, settings[queue])
            if states.get(queue) != state:
                changed.add(queue)
                states[queue] = state
            if any(since):
                self.aging[queue] = since
            else:
                self.aging.pop(queue, None)
            if state.workers == 0:
                self.without_workers[queue] = None
            else:
                self.without_workers.pop(queue, None)
        self._reads, self._known, self._settings = reads, known, settings
        return changed

    def _known_otherwise(
        self, queues: Collection[QueueId], known: QueueFacts, settings: Mapping[QueueId, WorkerSettings]
    ) -> Iterable[QueueId]:
        """Those of which discovery or the settings do not say what they did."""
        before = self._known
        if settings is not self._settings or (known.workers is None) != (before.workers is None):
            return queues
        otherwise: set[QueueId] = set()
        for now, then in zip(known, before, strict=True):
            if now is None or then is None or now is then or now == then:
                continue
            otherwise.update([queue for queue in queues if now.get(queue) != then.get(queue)])
        return otherwise

    def aged(self, at: Iterable[tuple[int, Collection[QueueId]]]) -> dict[QueueId, QueueState]:
        """All states, those in `aging` with their ages: `at` has the time by each node's clock in unix ms,
        and which of them are its queues."""
        states, since = dict(self._states), self.aging
        for now_ms, queues in at:
            aged = [_aged(states[queue], since[queue], now_ms) for queue in queues]
            states.update(zip(queues, aged, strict=True))
        return states


def _state(queue: QueueId, counts: Counts, known: QueueFacts, settings: WorkerSettings) -> QueueState:
    capacity, concurrency = settings
    return _new_tuple(  # in a third of the time of `QueueState(...)`
        QueueState,
        (
            queue,
            counts.jobs,
            counts.paused,
            counts.schedulers,
            counts.delayed_overdue,
            counts.delayed_due,
            counts.failed_last_hour,
            None if known.workers is None else known.workers.get(queue),
            counts.concurrency_limit,
            counts.rate_limit_ttl,
            None,  # oldest_waiting
            None,  # longest_active
            capacity,
            concurrency,
            known.libraries.get(queue, "bullmq"),
            known.workers_unknown.get(queue, ""),
            counts.odd,
            None,  # measured_concurrency
            counts.version,
            None,  # longest_overdue
            None,  # longest_waiting_children
        ),
    )


def _aged(
    state: QueueState,
    since: Since,
    now_ms: int,
) -> QueueState:
    """The state with the ages at `now_ms`; of a job that came later by another clock 0. Part by part, as
    `_replace` takes five times as long."""
    waits, runs, late, waits_for_children = since
    (
        queue, jobs, paused, schedulers, overdue, soon, failed, workers, limit, ttl, _, _, capacity,
        concurrency, library, unknown, odd, measured, version, _, _,
    ) = state  # fmt: skip
    return _new_tuple(
        QueueState,
        (
            queue, jobs, paused, schedulers, overdue, soon, failed, workers, limit, ttl,
            None if waits is None else (now_ms - waits) / 1000 if waits < now_ms else 0.0,
            None if runs is None else (now_ms - runs) / 1000 if runs < now_ms else 0.0,
            capacity, concurrency, library, unknown, odd, measured, version,
            ((now_ms - late) / 1000 if late < now_ms else 0.0) if late is not None and overdue else None,
            None if waits_for_children is None
            else (now_ms - waits_for_children) / 1000 if waits_for_children < now_ms
            else 0.0,
        ),
    )  # fmt: skip
