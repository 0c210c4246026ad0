"""Reads the job schedulers and repeatable jobs of all queues in the background, in bounded rounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple, TypeVar

from exporter.bullmq.bull.counts import plan_bull_queue, unpack_by_library
from exporter.bullmq.counts import Counts, Plan, pack_plans, plan_queue
from exporter.bullmq.discover import Discovery, KnownQueues
from exporter.bullmq.keys import base
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.schedulers.memory import (
    Remembered,
    Sighting,
    alike,
    duplicates,
    knows_options,
    remember,
    scheduler,
)
from exporter.bullmq.schedulers.reading import (
    MOST_DATA,
    MOST_OPTIONS,
    Command,
    JobFacts,
    Member,
    Options,
    commands,
    data_command,
    digest,
    head_command,
    members,
    names_by_data,
    options_command,
    parse,
    parse_options,
    parse_second_look,
    refusal,
    second_look,
)
from exporter.bullmq.search.ask import ask_owners
from exporter.config.settings import SchedulerSettings
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Reply
from exporter.snapshot import QueueId, QueueSchedulers
from service.clock import Deadline, monotonic
from service.outcome import Failed, Ok, UnreadableError

_POOL: Final = "schedulers"
_ROUND_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 1.0
_SHARE: Final = 20  # a round takes at most a twentieth of the time
_STALE_ROUNDS: Final = 3
_BATCH: Final = 500  # schedulers in one request: some 3 ms of the node's time
_MOST: Final = 20_000  # schedulers of all queues in one round
_MOST_DATA_READS: Final = 1000
_NAMED: Final = 3
_T = TypeVar("_T")


@dataclass(slots=True)
class _Queue:
    """What is remembered of a queue; `at` is monotonic, the node's times are unix s."""

    address: str
    at: float
    result: QueueSchedulers
    memories: dict[str, Remembered] = field(default_factory=dict)


class _Look(NamedTuple):
    """A queue's schedulers in one round, what is remembered of them, and its node's time in unix s."""

    sightings: list[Sighting]
    memories: dict[str, Remembered]
    address: str
    at: float


class SchedulerWatch:
    """One thread calls `step`; any thread may call `schedulers`, whose parts are replaced as a whole."""

    def __init__(self, deployment: Deployment, discovery: Discovery, settings: SchedulerSettings) -> None:
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
        self._pause = max(self._settings.interval_seconds, _SHARE * took)
        return self._pause

    @property
    def longest_pause(self) -> float:
        """Seconds after which a round must have ended."""
        return _SHARE * _ROUND_SECONDS + self._settings.interval_seconds + _ROUND_SECONDS

    def schedulers(self) -> dict[QueueId, QueueSchedulers]:
        """The queues that have schedulers and were read lately, at the time of their nodes."""
        oldest = monotonic() - _STALE_ROUNDS * self._pause - _ROUND_SECONDS
        return {
            queue: known.result._replace(now=self._deployment.now(known.address))
            for queue, known in self._queues.items()
            if known.at >= oldest
        }

    def problems(self) -> tuple[str, ...]:
        """Sentences about what could not be read, or was not for its number."""
        return self._problems

    def read(self, deadline: Deadline) -> None:
        """Read all schedulers once. Raises UnreadableError if no node is known."""
        known = self._discovery.known()
        slot_map = SlotMap(self._deployment.topology(deadline))
        reading = _Reading(self._deployment, slot_map, deadline, known)
        sizes = reading.sizes(known.queues)
        listed = set(known.queues)
        queues = {
            queue: seen for queue, seen in self._queues.items() if sizes.get(queue) != 0 and queue in listed
        }
        heads = reading.heads(sizes, self._settings.per_queue)
        states = reading.states([queue for queue, head in heads.items() if head])
        for queue, state in states.items():
            before = queues.get(queue)
            looked = reading.look(queue, heads[queue], state, before.memories if before else {})
            if looked is not None:
                result = self._result(looked, state, sizes[queue], before.result if before else None)
                queues[queue] = _Queue(looked.address, monotonic(), result, looked.memories)
        self._queues = queues
        unread = {queue: seen.result.unread for queue, seen in queues.items() if seen.result.unread}
        self._problems = reading.sentences(unread)

    def _result(
        self, looked: _Look, state: Counts, size: int, before: QueueSchedulers | None
    ) -> QueueSchedulers:
        at, memories = looked.at, looked.memories
        schedulers = tuple(scheduler(each, memories[each.member.text], at) for each in looked.sightings)
        unread = max(0, size - len(schedulers))
        # Those that run next are others each minute: of a queue that is read in part, none has series.
        most = 0 if unread else self._settings.series_per_queue
        return QueueSchedulers(
            schedulers=schedulers,
            now=at,
            unread=unread,
            held_at=at if state.paused else before.held_at if before else 0.0,
            limited_at=at if _limited(state) else before.limited_at if before else 0.0,
            duplicates=duplicates(alike(looked.sightings), memories),
            published=tuple(sorted(schedulers)[:most]),
        )


class _Reading:
    """One round's requests."""

    def __init__(
        self, deployment: Deployment, slot_map: SlotMap, deadline: Deadline, known: KnownQueues
    ) -> None:
        self.slot_map = slot_map
        self._deployment = deployment
        self._deadline = deadline
        self._known = known
        self._failures: dict[QueueId, str] = {}
        self._data_reads = 0

    def sizes(self, queues: Sequence[QueueId]) -> dict[QueueId, int]:
        """How many schedulers each queue has."""
        asked: dict[QueueId, list[Command]] = {queue: [("ZCARD", f"{base(queue)}repeat")] for queue in queues}
        return {queue: reply[0] for queue, reply in self._ask(asked).items() if isinstance(reply[0], int)}

    def heads(self, sizes: Mapping[QueueId, int], most: int) -> dict[QueueId, list[Member]]:
        """The members that are read: all of small queues, then as many as a round may have."""
        left = _MOST
        asked: dict[QueueId, list[Command]] = {}
        for queue, size in sorted(sizes.items(), key=lambda pair: (pair[1], pair[0])):
            share = min(size, most, left)
            if share:
                left -= share
                asked[queue] = [head_command(queue, share)]
        heads: dict[QueueId, list[Member]] = {}
        remaining = iter(asked)
        while batch := list(islice(remaining, _BATCH)):
            answers = self._ask({queue: asked[queue] for queue in batch})
            heads |= {
                queue: members(reply[0], self._known.libraries.get(queue, "bullmq"))
                for queue, reply in answers.items()
            }
        return heads

    def states(self, queues: Sequence[QueueId]) -> dict[QueueId, Counts]:
        """Whether these queues are paused, and whether they are limited, as a scrape reads it."""
        owned, _ = self.slot_map.by_owner(queues)
        plans = {
            address: [self._plan(queue) for queue in node_queues] for address, node_queues in owned.items()
        }
        requests = {
            address: pack_plans(node_plans, int(self._deployment.now(address) * 1000))
            for address, node_plans in plans.items()
        }
        outcomes = self._deployment.execute(requests, self._deadline, pool=_POOL)
        states: dict[QueueId, Counts] = {}
        for address, outcome in outcomes.items():
            if isinstance(outcome, Ok):
                read = zip(plans[address], unpack_by_library(plans[address], outcome.value), strict=True)
                states |= {plan.queue: counts for plan, counts in read if isinstance(counts, Counts)}
        return states

    def look(
        self, queue: QueueId, head: Sequence[Member], state: Counts, before: Mapping[str, Remembered]
    ) -> _Look | None:
        """The schedulers as they are now, and what is remembered of them; None if they cannot be read."""
        library = self._known.libraries.get(queue, "bullmq")
        sightings: list[Sighting] = []
        for batch in _batches(head):
            answers = self._answers(queue, [commands(queue, member, library) for member in batch])
            if answers is None:
                return None
            pairs = zip(batch, answers, strict=True)
            sightings += [Sighting(member, *parse(member, library, replies)) for member, replies in pairs]
        checked = self._checked(queue, sightings, state.version)
        options = None if checked is None else self._options(queue, checked, before)
        if checked is None or options is None:
            return None
        address = self.slot_map.owner(queue) or ""
        at = self._deployment.now(address)
        memories: dict[str, Remembered] = {}
        for each in checked:
            name = each.member.text
            memories[name] = remember(each, before.get(name), options.get(name), at)
        self._compare(queue, checked, memories)
        return _Look(checked, memories, address, at)

    def _checked(self, queue: QueueId, sightings: list[Sighting], version: str) -> list[Sighting] | None:
        """Look again for next jobs that are not there: a worker may have taken one and added another."""
        library = self._known.libraries.get(queue, "bullmq")
        unnamed = [each.member for each in sightings if each.job.state == "none" and each.member.key]
        renamed: dict[Member, JobFacts] = {}
        hidden: set[Member] = set()
        now_ms = self._deployment.now(self.slot_map.owner(queue) or "") * 1000
        for batch in _batches(unnamed):
            answers = self._answers(queue, [second_look(queue, member, library) for member in batch])
            if answers is None:
                return None
            for member, replies in zip(batch, answers, strict=True):
                job, any_due = parse_second_look(member, library, replies)
                if job is not None:
                    renamed[member] = job
                elif any_due or (member.at_ms < now_ms and names_by_data(version)):
                    hidden.add(member)
        sightings = [each._replace(job=renamed.get(each.member, each.job)) for each in sightings]
        gone = {each.member for each in sightings if each.job.state in ("none", "finished")}
        if gone:
            heads = self._ask({queue: [head_command(queue, len(sightings))]})
            if queue not in heads:
                return None
            hidden |= gone - set(members(heads[queue][0], library))
        return [each._replace(hidden=each.member in hidden) for each in sightings]

    def _options(
        self, queue: QueueId, sightings: Sequence[Sighting], before: Mapping[str, Remembered]
    ) -> dict[str, Options] | None:
        """The options of the next jobs that are new since the last round."""
        new = [
            each
            for each in sightings
            if 0 < each.job.options_length <= MOST_OPTIONS
            and not knows_options(before.get(each.member.text), each)
        ]
        options: dict[str, Options] = {}
        for batch in _batches(new):
            answers = self._answers(queue, [[options_command(queue, each.job)] for each in batch])
            if answers is None:
                return None
            pairs = zip(batch, answers, strict=True)
            options |= {each.member.text: parse_options(replies[0]) for each, replies in pairs}
        return options

    def _compare(
        self, queue: QueueId, sightings: Sequence[Sighting], memories: dict[str, Remembered]
    ) -> None:
        """Read the data of schedulers that may be duplicates: once for each job, so many in a round."""
        due: dict[str, Sighting] = {}
        for group in alike(sightings):
            lengths = [each.job.data_length for each in group]
            due |= {
                each.member.text: each
                for each in group
                if each.job.data_length <= MOST_DATA
                and lengths.count(each.job.data_length) > 1
                and memories[each.member.text].digest is None
            }
        wanted = list(islice(due.values(), max(0, _MOST_DATA_READS - self._data_reads)))
        self._data_reads += len(wanted)
        for batch in _batches(wanted):
            answers = self._answers(queue, [[data_command(queue, each.job)] for each in batch])
            for each, replies in zip(batch, answers or (), strict=False):
                name = each.member.text
                memories[name] = memories[name]._replace(digest=digest(replies[0]))

    def sentences(self, unread: Mapping[QueueId, int]) -> tuple[str, ...]:
        """What was not read, and why."""
        texts = []
        if self._failures:
            queue, why = min(self._failures.items())
            texts.append(f"schedulers of {len(self._failures)} queues are not read: {queue.name}: {why}")
        if unread:
            names = ", ".join(f"{queue.name}: {unread[queue]}" for queue in sorted(unread)[:_NAMED])
            more = f" and {len(unread) - _NAMED} more queues" if len(unread) > _NAMED else ""
            texts.append(f"schedulers that run later than those that are read: {names}{more}")
        return tuple(texts)

    def _plan(self, queue: QueueId) -> Plan:
        bull = self._known.libraries.get(queue, "bullmq") == "bull"
        return plan_bull_queue(queue) if bull else plan_queue(queue)

    def _answers(self, queue: QueueId, asked: Sequence[Sequence[Command]]) -> list[list[Reply]] | None:
        """The replies to each part of a request, in order; None if there are none."""
        answers = self._ask({queue: [command for part in asked for command in part]}).get(queue)
        if answers is None:
            return None
        replies = iter(answers)
        return [list(islice(replies, len(part))) for part in asked]

    def _ask(self, asked: Mapping[QueueId, Sequence[Command]]) -> dict[QueueId, list[Reply]]:
        """The replies of queues that can be read; each other one has its reason in `sentences`."""
        answers = ask_owners(self._deployment, self.slot_map, self._deadline, asked, pool=_POOL)
        readable: dict[QueueId, list[Reply]] = {}
        for queue, answer in answers.items():
            error = answer.message if isinstance(answer, Failed) else refusal(answer)
            if isinstance(answer, Failed) or error is not None:
                self._failures[queue] = str(error)
            else:
                readable[queue] = answer
        return readable


def _batches(items: Sequence[_T]) -> Iterator[list[_T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, _BATCH)):
        yield batch


def _limited(state: Counts) -> bool:
    """Whether the queue is at its rate limit or at its global concurrency: it takes no job for now."""
    limit, active = state.concurrency_limit, state.jobs.active
    return bool(state.rate_limit_ttl) or (limit is not None and active is not None and active >= limit)
