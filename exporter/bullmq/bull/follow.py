"""Counts the jobs of Bull queues in the background, from what Bull publishes and from its own `id`.

One subscribed connection for the whole deployment (a cluster passes published messages on to all its nodes).
What is published while there is none is missed, which is said as lost events; a queue whose messages are
large is not followed, as Redis keeps in its memory what a subscriber has not read yet.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from exporter.bullmq.bull.channels import ChannelMessage, TooLargeError
from exporter.bullmq.bull.jobs import BullJobs, Stock
from exporter.bullmq.bull.limits import Outflow, why_too_large, why_too_many
from exporter.bullmq.bull.reading import (
    BullCommands,
    Lengths,
    kept_jobs_commands,
    largest,
    length_commands,
    lengths,
    result_size_commands,
)
from exporter.bullmq.bull.subscription import Subscription
from exporter.bullmq.keys import base
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.reasons.masking import LONGEST_READ, REASONS_READ_PER_SECOND, masked_reason
from exporter.bullmq.reasons.tally import ReasonTally
from exporter.bullmq.search.ask import ask_owners
from exporter.bullmq.streams.rates import RateHistory
from exporter.bullmq.tallies.known_texts import BURST_SECONDS, KnownTexts
from exporter.bullmq.tallies.label_budget import LabelBudget
from exporter.config.bullmq import BullMQSettings
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Reply
from exporter.snapshot.queues import AllRates, BullMQState, Events, EventTotals, QueueId, QueueRates
from service.clock import Deadline, monotonic, now
from service.outcome import Failed, UnreadableError
from service.rate_limit import TokenBucket

log = logging.getLogger(__name__)

_POOL: Final = "bull"
_IDLE_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 1.0
_CONNECT_SECONDS: Final = 3.0
_POLL_SECONDS: Final = 1.0  # between two reads of `id` and of the lists' lengths, and two PINGs
_QUIET_POLLS: Final = 10  # a queue without messages is read every tenth time
_POLL_TIMEOUT: Final = 0.5  # messages wait meanwhile
_READ_SECONDS: Final = 0.25
_REFUSED_SECONDS: Final = 60.0  # until what was refused is asked again
_SHARED: Final = (
    "Bull publishes without the number of the database, and workers of another one have a queue of this name"
)
_LARGE_SECONDS: Final = 600.0  # until the kept jobs of a queue with large messages are looked at again


@dataclass
class _Queue:
    """A queue that is followed, or `large` says why it is not; `shared`: workers of another database have one
    of the same name. `gap`: its messages were not received for a while. `ends` and `octets` are the messages
    of jobs that ended since the last poll."""

    id: QueueId
    jobs: BullJobs
    learn_at: float = 0.0
    learned: bool = False
    large: str = ""
    shared: bool = False
    seeded: bool = False
    gap: bool = False
    busy: bool = True
    ends: int = 0
    octets: int = 0


class _Poll(NamedTuple):
    """What was read, to be applied when all that was published before has arrived: at the answer `ping`."""

    ping: int
    ms: int
    lengths: Mapping[QueueId, Lengths]
    stocks: Mapping[QueueId, Stock | None]
    remembered: Mapping[QueueId, int]  # jobs that were active then, as far as is known


@dataclass(frozen=True)
class _Published:
    """What other threads see, replaced as a whole; `answered_at` in monotonic seconds."""

    events: Mapping[QueueId, Events] = field(default_factory=dict)
    unfollowed: Mapping[QueueId, str] = field(default_factory=dict)
    answered_at: float = 0.0
    totals: EventTotals = field(default_factory=EventTotals)


class BullFollower:
    """One thread calls `step`; any thread may call `events`, `rates` and `unfollowed`."""

    def __init__(self, deployment: Deployment, settings: BullMQSettings) -> None:
        self._deployment = deployment
        self._buckets = settings.event_buckets
        self._native = settings.histograms != "classic"
        self._reasons = LabelBudget(settings.max_failed_reasons)
        bucket = TokenBucket(REASONS_READ_PER_SECOND, BURST_SECONDS * REASONS_READ_PER_SECOND)
        self._texts = KnownTexts(masked_reason, LONGEST_READ, bucket.take)
        self._most_reasons = settings.failed_reasons
        self._queues: dict[QueueId, _Queue] = {}
        self._by_base: dict[bytes, _Queue] = {}
        self._gone = EventTotals()  # of queues that are not followed any more
        self._subscription: Subscription | None = None
        self._slot_map: SlotMap | None = None
        self._history = RateHistory()
        self._published = _Published()
        self._extended: frozenset[QueueId] = frozenset()  # the queues whose events the last state got
        self._polls: list[_Poll] = []
        self._poll_due = self._refused_due = self._measured_at = 0.0
        self._outflow = Outflow()
        self._poll_count = self._connections = 0
        self._answered_at = 0.0
        self._problem = ""

    def events(self) -> dict[QueueId, Events]:
        """Each queue's counters; without queues that are not followed, or whose counting has not begun."""
        published = self._published
        lag = max(0.0, monotonic() - published.answered_at)
        return {queue: events._replace(lag=lag) for queue, events in published.events.items()}

    def rates(self, events: Mapping[QueueId, Events]) -> QueueRates:
        """Rates and quantiles of the last minutes up to these events."""
        return self._history.rates(monotonic(), events)

    def unfollowed(self) -> Mapping[QueueId, str]:
        """The queues without counters, and why."""
        return self._published.unfollowed

    @property
    def problem(self) -> str:
        """Why there is no subscription now; "" if there is one, or no queue."""
        return self._problem

    def extend(self, state: BullMQState) -> BullMQState:
        """The state with the counters of Bull's queues added to those from event streams."""
        events = self.events()
        changes = state.changes
        if changes is not None:
            changes = changes._replace(queues=changes.queues | events.keys() | self._extended)
        self._extended = frozenset(events)
        return replace(
            state,
            changes=changes,
            events={**(state.events or {}), **events},
            rates=AllRates(self.rates(events), state.rates),  # as in the events: Bull's count
            unfollowed={**state.unfollowed, **self.unfollowed()},
            event_totals=self._published.totals.plus(state.event_totals or EventTotals()),
        )

    def step(self, queues: Sequence[QueueId], elsewhere: Collection[QueueId] = ()) -> float:
        """Follow exactly these queues, and read what was published; the seconds until the next step.

        Those `elsewhere` have workers in another database too, and are not followed.
        """
        self._update(queues)
        self._share(elsewhere)
        if not self._queues:
            self.stop()
            return _IDLE_SECONDS
        seconds = 0.0
        try:
            subscription = self._subscribed()
            if monotonic() >= self._poll_due:
                self._poll(subscription)
            self._read(subscription)
        except UnreadableError as error:
            self._disconnect(str(error))
            seconds = _RETRY_SECONDS
        self._publish()
        return seconds

    def stop(self) -> None:
        """Close the connection. The thread must have ended."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None

    # --- queues and the connection ---

    def _update(self, queues: Sequence[QueueId]) -> None:
        """Keep exactly these queues; removed ones lose their counters."""
        if self._queues.keys() == set(queues):
            return
        removed = self._queues.keys() - set(queues)
        self._gone = self._gone.plus(_totals(self._queues[queue] for queue in removed))
        self._queues = {queue: self._queues.get(queue) or _Queue(queue, self._new_jobs()) for queue in queues}
        self._by_base = {
            base(queue.id).encode("utf-8", "surrogateescape"): queue for queue in self._queues.values()
        }
        if removed and self._subscription is not None:
            try:
                self._subscription.drop(removed)
            except UnreadableError as error:
                self._disconnect(str(error))

    def _new_jobs(self) -> BullJobs:
        reasons = ReasonTally(self._reasons, self._most_reasons, self._texts) if self._most_reasons else None
        return BullJobs(now(), self._buckets, native=self._native, reasons=reasons)

    def _share(self, elsewhere: Collection[QueueId]) -> None:
        """Begin again without these queues' messages, or with them: whose they are cannot be told."""
        changed = [queue for queue in self._queues.values() if queue.shared != (queue.id in elsewhere)]
        self._gone = self._gone.plus(_totals(changed))
        for queue in changed:
            fresh = _Queue(queue.id, self._new_jobs(), shared=not queue.shared)
            self._queues[queue.id] = fresh
            self._by_base[base(queue.id).encode("utf-8", "surrogateescape")] = fresh
            if fresh.shared:
                log.warning("messages of two databases", extra={"queue": queue.id.name, "reason": _SHARED})
        if changed and self._subscription is not None:
            try:
                self._subscription.drop([queue.id for queue in changed])
            except UnreadableError as error:
                self._disconnect(str(error))

    def _subscribed(self) -> Subscription:
        """The subscription to all queues whose messages are not known to be large."""
        subscription = self._connected()
        if subscription.refused and monotonic() >= self._refused_due:
            self._refused_due = monotonic() + _REFUSED_SECONDS
            subscription.retry()
        self._learn()
        subscription.ask(
            queue.id
            for queue in self._queues.values()
            if queue.learned and not queue.large and not queue.shared
        )
        return subscription

    def _connected(self) -> Subscription:
        deadline = Deadline.after(_CONNECT_SECONDS)
        slot_map = self._current_slot_map(deadline)
        if self._subscription is not None:
            if self._subscription.address in slot_map.masters:
                return self._subscription
            self._disconnect(f"{self._subscription.address} is not a master any more")
        if not slot_map.masters:
            raise UnreadableError("unreachable", "no master")
        address = slot_map.masters[self._connections % len(slot_map.masters)]
        self._connections += 1  # the next time another node of a cluster
        try:
            self._subscription = Subscription(self._deployment.connect(address, deadline), address)
        except UnreadableError as error:
            raise UnreadableError(error.kind, f"{address}: {error}") from None
        self._poll_due = 0.0
        self._refused_due = monotonic() + _REFUSED_SECONDS
        return self._subscription

    def _current_slot_map(self, deadline: Deadline) -> SlotMap:
        topology = self._deployment.topology(deadline)
        if self._slot_map is None or not self._slot_map.matches(topology):
            self._slot_map = SlotMap(topology)
        return self._slot_map

    def _disconnect(self, why: str) -> None:
        """What is published from now on is missed."""
        self.stop()
        self._polls.clear()
        for queue in self._queues.values():
            queue.gap = queue.seeded
            queue.jobs.interrupt()
        if not self._problem:
            log.warning("not subscribed to bull", extra={"error": why})
        self._problem = why

    # --- the messages ---

    def _read(self, subscription: Subscription) -> None:
        """Read until the next poll is due, but at most a quarter of a second."""
        until = Deadline(min(self._poll_due, monotonic() + _READ_SECONDS))
        while True:
            try:
                messages = subscription.receive(until)
            except TooLargeError as error:
                self._refuse_message(error)
                return
            ms = int(monotonic() * 1000)
            for message in messages:
                self._count(message, ms)
            self._apply_polls(subscription)
            if until.passed():
                return

    def _count(self, message: ChannelMessage, ms: int) -> None:
        queue = self._by_base.get(message.base)
        if queue is None or queue.large or queue.shared:
            return
        queue.busy = True
        if message.kind in ("completed", "failed"):
            queue.ends += 1
            queue.octets += message.size
        queue.jobs.feed(message, ms, int(now() * 1000))

    def _refuse_message(self, error: TooLargeError) -> None:
        """Close the connection, so that Redis does not keep the rest of the message."""
        queue = self._by_base.get(error.channel.rpartition(b":")[0] + b":")
        if queue is None:
            raise UnreadableError("protocol", f"a message of {error.size} bytes")
        self._mark_large(queue, why_too_large(error.size, 1))
        self._disconnect("a message was too large")

    def _mark_large(self, queue: _Queue, why: str) -> None:
        log.warning("messages too large to follow", extra={"queue": queue.id.name, "reason": why})
        queue.large, queue.gap, queue.ends, queue.octets = why, queue.seeded, 0, 0
        queue.jobs.interrupt()
        queue.learned, queue.learn_at = False, monotonic() + _LARGE_SECONDS

    # --- what is read besides ---

    def _learn(self) -> None:
        """Look at the sizes of kept results before subscribing; unknown ones are tried."""
        at = monotonic()
        due = [queue for queue in self._queues.values() if not queue.learned and at >= queue.learn_at]
        for queue in due:
            queue.learn_at = at + (_LARGE_SECONDS if queue.large else _RETRY_SECONDS)
        kept = self._execute({queue.id: kept_jobs_commands(queue.id) for queue in due})
        polled = self._execute({queue: length_commands(queue, with_active=False) for queue in kept})
        sizes = self._execute({queue: result_size_commands(queue, kept[queue]) for queue in polled})
        for queue in due:
            if queue.id not in sizes:
                continue
            size, active = largest(sizes[queue.id]), lengths(polled[queue.id]).active
            why = why_too_large(size, active or 0)
            if why and not queue.large:
                self._mark_large(queue, why)
            elif not why and (size or not queue.large):
                queue.learned, queue.large = True, ""

    def _poll(self, subscription: Subscription) -> None:
        """Read counts and lengths, then ask for a sign of life: it comes after all earlier messages."""
        self._check_rate()
        self._poll_count += 1
        every = self._poll_count % _QUIET_POLLS == 0
        due = [
            queue
            for queue in self._queues.values()
            if subscription.follows(queue.id) and (every or queue.busy or queue.gap or not queue.seeded)
        ]
        ms = int(monotonic() * 1000)
        commands = {}
        for queue in due:
            queue.busy = False
            starting = queue.gap or not queue.seeded
            if starting:
                queue.jobs.begin_active()
            commands[queue.id] = length_commands(queue.id, with_active=starting)
        remembered = {queue.id: queue.jobs.running for queue in due}
        replies = self._execute(commands)
        read = {queue: lengths(queue_replies) for queue, queue_replies in replies.items()}
        # What was published until now may never arrive: only the answer makes it a stock to begin from.
        stocks = {
            queue.id: queue.jobs.stock(read[queue.id].balance)
            for queue in due
            if queue.id in read and queue.seeded and not queue.gap
        }
        self._polls.append(_Poll(subscription.ping(), ms, read, stocks, remembered))
        self._poll_due = monotonic() + _POLL_SECONDS

    def _apply_polls(self, subscription: Subscription) -> None:
        self._answered_at = subscription.answered_at
        while self._polls and self._polls[0].ping <= subscription.answered:
            poll = self._polls.pop(0)
            for queue_id, read in poll.lengths.items():
                queue = self._queues.get(queue_id)
                if queue is not None and subscription.follows(queue_id):
                    self._apply(queue, read, poll.ms, poll.remembered[queue_id], subscription)
                    queue.jobs.remember(poll.stocks.get(queue_id))
            for queue in self._queues.values():
                queue.jobs.advance(poll.ms)
            if self._problem:
                log.info("subscribed to bull", extra={"node": subscription.address})
                self._problem = ""

    def _apply(
        self, queue: _Queue, read: Lengths, ms: int, remembered: int, subscription: Subscription
    ) -> None:
        jobs = queue.jobs
        jobs.count_ids(read.ids)
        if queue.gap or not queue.seeded:
            missed = jobs.missed(read.balance)
            missed = max(missed, jobs.seed_active(read.active_ids))
            if queue.gap:
                jobs.lose(missed)
            queue.seeded, queue.gap = True, False
        elif read.waiting is not None and read.active is not None:
            jobs.prune(ms, waiting=read.waiting > 0, active=read.active > 0)
        jobs.observe_active(read.active, ms, remembered)
        why = why_too_large(queue.octets / queue.ends, read.active or 0) if queue.ends else ""
        queue.ends = queue.octets = 0
        if why:
            subscription.drop([queue.id])
            self._mark_large(queue, why)

    def _check_rate(self) -> None:
        """Give up the queue with most bytes if all messages together are too many."""
        at = monotonic()
        seconds, self._measured_at = at - self._measured_at, at
        octets = sum(queue.octets for queue in self._queues.values())
        if self._outflow.is_too_much(octets, max(_POLL_SECONDS, seconds)):
            most = max(self._queues.values(), key=lambda queue: queue.octets)
            self._mark_large(most, why_too_many(most.octets / max(_POLL_SECONDS, seconds)))
            if self._subscription is not None:
                self._subscription.drop([most.id])

    def _execute(self, commands: Mapping[QueueId, BullCommands]) -> dict[QueueId, list[Reply]]:
        """Each queue's replies; without queues whose node does not answer at once."""
        if not commands or self._slot_map is None:
            return {}
        replies = ask_owners(
            self._deployment, self._slot_map, Deadline.after(_POLL_TIMEOUT), commands, pool=_POOL
        )
        return {queue: reply for queue, reply in replies.items() if not isinstance(reply, Failed)}

    # --- for other threads ---

    def _publish(self) -> None:
        events, unfollowed = {}, {}
        for queue in self._queues.values():
            shared = _SHARED if queue.shared else ""
            refused = self._refused(queue.id) or ("" if queue.seeded else self._problem)
            if why := shared or queue.large or refused:
                unfollowed[queue.id] = why
            elif queue.seeded:
                events[queue.id] = queue.jobs.events()
        totals = self._gone.plus(_totals(self._queues.values()))
        self._published = _Published(events, unfollowed, self._answered_at, totals)
        if self._history.due(monotonic()):
            self._history.record(monotonic(), events, unix=now())

    def _refused(self, queue: QueueId) -> str:
        refused: Mapping[QueueId | str, str] = self._subscription.refused if self._subscription else {}
        if text := refused.get(queue.prefix):
            return f"PSUBSCRIBE: {text}"
        return f"SUBSCRIBE: {text}" if (text := refused.get(queue)) else ""


def _totals(queues: Iterable[_Queue]) -> EventTotals:
    counted = [queue.jobs.events() for queue in queues]
    return EventTotals(
        sum([events.read for events in counted]), 0, sum([events.counters.evicted for events in counted])
    )
