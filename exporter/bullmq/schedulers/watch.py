"""Reads the job schedulers and repeatable jobs of all queues in the background, in bounded rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from operator import attrgetter
from typing import Final

from exporter.bullmq.counts import Counts
from exporter.bullmq.discover import Discovery
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.schedulers.memory import (
    Remembered,
    duplicates,
    lookalikes,
    scheduler,
)
from exporter.bullmq.schedulers.round import Look, Round
from exporter.bullmq.work import stopped
from exporter.config.bullmq import SchedulerSettings
from exporter.derived import silent_at
from exporter.redis.deployment import Deployment
from exporter.snapshot.queues import QueueId
from exporter.snapshot.schedulers import QueueSchedulers
from service.clock import Deadline, monotonic
from service.outcome import UnreadableError

_ROUND_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 1.0
_SHARE: Final = 20  # a round takes at most a twentieth of the time
_STALE_ROUNDS: Final = 3


@dataclass(slots=True)
class _Queue:
    """What is remembered of a queue; `at` is monotonic, the node's times are unix s."""

    at: float
    result: QueueSchedulers
    memories: dict[str, Remembered] = field(default_factory=dict)


class SchedulerWatch:
    """One thread calls `step`; any thread may call `schedulers`, whose parts are replaced as a whole."""

    def __init__(
        self,
        deployment: Deployment,
        discovery: Discovery,
        settings: SchedulerSettings,
        slowdown: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._slowdown = slowdown
        self._deployment = deployment
        self._discovery = discovery
        self._settings = settings
        self._pause = settings.interval_seconds
        self._queues: dict[QueueId, _Queue] = {}
        self._problems: tuple[str, ...] = ()

    def step(self) -> float:
        """One round; the seconds until the next. A Redis that does not answer is not an error: it retries."""
        started = monotonic()
        try:
            self.read(Deadline.after(_ROUND_SECONDS))
        except UnreadableError:
            return _RETRY_SECONDS
        took = min(_ROUND_SECONDS, monotonic() - started)
        slowed = min(self._settings.interval_seconds * self._slowdown(), self.longest_pause - _ROUND_SECONDS)
        self._pause = max(self._settings.interval_seconds, slowed, _SHARE * took)
        return self._pause

    @property
    def longest_pause(self) -> float:
        """Seconds after which a round must have ended."""
        return _SHARE * _ROUND_SECONDS + self._settings.interval_seconds + _ROUND_SECONDS

    def schedulers(self) -> dict[QueueId, QueueSchedulers]:
        """Those of the queues that were read lately, as of then: one that was ahead may have run since."""
        oldest = monotonic() - _STALE_ROUNDS * (self._pause + _ROUND_SECONDS)
        return {queue: known.result for queue, known in self._queues.items() if known.at >= oldest}

    def problems(self) -> tuple[str, ...]:
        """Sentences about what could not be read, or was not for its number."""
        return self._problems

    def read(self, deadline: Deadline) -> None:
        """Read all schedulers once. Raises UnreadableError if no node is known."""
        known = self._discovery.known()
        slot_map = SlotMap(self._deployment.topology(deadline))
        reading = Round(self._deployment, slot_map, deadline, known)
        sizes = reading.sizes(known.queues)
        listed = set(known.queues)
        queues = {
            queue: seen for queue, seen in self._queues.items() if sizes.get(queue) != 0 and queue in listed
        }
        heads = reading.heads(sizes, self._settings.per_queue)
        states = reading.states([queue for queue, head in heads.items() if head])
        by_age = sorted(states, key=lambda queue: queues[queue].at if queue in queues else 0.0)
        memories = {queue: seen.memories for queue, seen in queues.items()}
        for queue, look in reading.looks(heads, {queue: states[queue] for queue in by_age}, memories):
            before = queues[queue].result if queue in queues else None
            result = self._result(look, states[queue], sizes[queue], before)
            queues[queue] = _Queue(monotonic(), result, look.memories)
        self._queues = queues
        unread = {queue: seen.result.unread for queue, seen in queues.items() if seen.result.unread}
        self._problems = reading.sentences(unread)

    def _result(
        self, look: Look, state: Counts, size: int, before: QueueSchedulers | None
    ) -> QueueSchedulers:
        at, memories = look.at, look.memories
        known = (scheduler(each, memories[each.member.text], at) for each in look.sightings)
        schedulers = tuple(sorted(known, key=attrgetter("next_run")))
        unread = max(0, size - len(schedulers))
        # Those that run next are others each minute: of a queue that is read in part, none has series.
        most = 0 if unread else self._settings.series_per_queue
        return QueueSchedulers(
            schedulers=schedulers,
            now=at,
            unread=unread,
            held_at=at if stopped(state) else before.held_at if before else 0.0,
            limited_at=at if _limited(state) else before.limited_at if before else 0.0,
            duplicates=duplicates(
                lookalikes(look.sightings, changed=self._settings.changed_repeatables), memories
            ),
            published=tuple(sorted(schedulers)[:most]),
            missing=tuple(each for each in schedulers if each.job == "gone"),
            silent_at=min(map(silent_at, schedulers), default=inf),
        )


def _limited(state: Counts) -> bool:
    """Whether the queue is at its rate limit or at its global concurrency: it takes no job for now."""
    limit, active = state.concurrency_limit, state.jobs.active
    return bool(state.rate_limit_ttl) or (limit is not None and active is not None and active >= limit)
