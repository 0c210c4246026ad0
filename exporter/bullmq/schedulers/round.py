"""One round of requests: from the queues to what is read of their schedulers, each part within bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple, TypeAlias, TypeVar

from exporter.bullmq.bull.counts import plan_bull_queue, read_by_library
from exporter.bullmq.counts import Counts, Plan, plan_queue
from exporter.bullmq.placement import SlotMap
from exporter.bullmq.queue_commands import Key, QueueCommands
from exporter.bullmq.schedulers.memory import (
    Remembered,
    Sighting,
    knows_options,
    lookalikes,
    next_run,
    remember,
)
from exporter.bullmq.schedulers.reading import (
    MOST_DATA,
    MOST_OPTIONS,
    JobFacts,
    Member,
    Options,
    ReadCommand,
    commands,
    data_command,
    digest,
    due_command,
    head_command,
    members,
    names_by_data,
    options_command,
    parse_options,
    parse_scheduler,
    parse_second_look,
    refusal,
    second_look,
)
from exporter.bullmq.search.ask import ask_packed
from exporter.bullmq.search.known import KnownQueues
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Reply, Request, pack_request
from exporter.snapshot.queues import Library, QueueId
from service.clock import Deadline
from service.outcome import Failed

_POOL: Final = "schedulers"
_SIZE: Final = QueueCommands(("ZCARD", Key("repeat")))
_BATCH: Final = 500  # schedulers in one request: some 3 ms of the node's time
_MOST: Final = 20_000  # schedulers of all queues in one round
_MOST_DATA_READS: Final = 1000
_NAMED: Final = 3
_T = TypeVar("_T")
Steps: TypeAlias = Generator[list[ReadCommand], list[Reply] | None, _T]
"""Commands of a queue, step by step, and their replies; None where it gave none."""


class Look(NamedTuple):
    """A queue's schedulers in one round, what is remembered of them, and its node's time in unix s."""

    sightings: list[Sighting]
    memories: dict[str, Remembered]
    at: float


class Round:
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
        replies = self._ask_packed({queue: _SIZE.request(queue) for queue in queues})
        return {queue: reply[0] for queue, reply in replies.items() if isinstance(reply[0], int)}

    def heads(self, sizes: Mapping[QueueId, int], most: int) -> dict[QueueId, list[Member]]:
        """The members that are read: all of small queues, then as many as a round may have."""
        left = _MOST
        asked: dict[QueueId, list[ReadCommand]] = {}
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
        plans = {queue: self._plan(queue) for queue in queues}
        requests = {queue: plan.request for queue, plan in plans.items()}
        answers = ask_packed(self._deployment, self.slot_map, self._deadline, requests, pool=_POOL)
        states: dict[QueueId, Counts] = {}
        for queue, answer in answers.items():
            if not isinstance(answer, Failed):
                counts = read_by_library(plans[queue], answer)
                states |= {queue: counts} if isinstance(counts, Counts) else {}
        return states

    def looks(
        self,
        heads: Mapping[QueueId, Sequence[Member]],
        states: Mapping[QueueId, Counts],
        before: Mapping[QueueId, Mapping[str, Remembered]],
    ) -> Iterator[tuple[QueueId, Look]]:
        """The schedulers of queues as they are now; a queue that cannot be read, or not in time, is left out.

        Queues are read side by side, so many that a request has no more than a batch of schedulers.
        """
        waiting = list(states)
        while waiting and not self._deadline.passed():
            size = 0
            steps: dict[QueueId, Steps[Look | None]] = {}
            while waiting and (not steps or size + len(heads[waiting[0]]) <= _BATCH):
                queue = waiting.pop(0)
                size += len(heads[queue])
                steps[queue] = self._look(queue, heads[queue], states[queue], before.get(queue, {}))
            yield from self._side_by_side(steps)

    def _side_by_side(self, steps: Mapping[QueueId, Steps[Look | None]]) -> Iterator[tuple[QueueId, Look]]:
        """Each step of all queues in one request."""
        asked = {queue: next(each) for queue, each in steps.items()}
        while asked:
            answers = self._ask(asked)
            asked = {}
            for queue, each in steps.items():
                try:
                    asked[queue] = each.send(answers.get(queue))
                except StopIteration as ended:
                    if ended.value is not None:
                        yield queue, ended.value
            steps = {queue: steps[queue] for queue in asked}

    def _look(
        self, queue: QueueId, head: Sequence[Member], state: Counts, before: Mapping[str, Remembered]
    ) -> Steps[Look | None]:
        library = self._known.libraries.get(queue, "bullmq")
        sightings: list[Sighting] = []
        for batch in _batches(head):
            answers = yield from _answers([commands(queue, member, library) for member in batch])
            if answers is None:
                return None
            pairs = zip(batch, answers, strict=True)
            sightings += [
                Sighting(member, *parse_scheduler(member, library, replies)) for member, replies in pairs
            ]
        address = self.slot_map.owner(queue) or ""
        at = self._deployment.now(address)
        checked = yield from _checked(queue, library, sightings, state.version, at)
        if checked is None:
            return None
        options = yield from _options(queue, checked, before)
        own = self._known.own.get(queue)
        in_groups = own is not None and own.groups  # BullMQ Pro's, whose jobs are not counted
        jobs = state.jobs
        if jobs.waiting == 0 and jobs.prioritized == 0 and jobs.active == 0 and not in_groups:
            checked = yield from _lost(queue, checked, before, options)
        memories: dict[str, Remembered] = {}
        for each in checked:
            name = each.member.text
            memories[name] = remember(each, before.get(name), options.get(name), at)
        yield from self._compare(queue, checked, memories)
        return Look(checked, memories, at)

    def _compare(
        self, queue: QueueId, sightings: Sequence[Sighting], memories: dict[str, Remembered]
    ) -> Steps[None]:
        """Read the data of schedulers that may be duplicates: once for each job, so many in a round."""
        due: dict[str, Sighting] = {}
        for group in lookalikes(sightings, changed=True):
            lengths = Counter(each.job.data_length for each in group)
            due |= {
                each.member.text: each
                for each in group
                if each.job.data_length <= MOST_DATA
                and lengths[each.job.data_length] > 1
                and memories[each.member.text].digest is None
            }
        wanted = list(islice(due.values(), max(0, _MOST_DATA_READS - self._data_reads)))
        self._data_reads += len(wanted)
        for batch in _batches(wanted):
            answers = yield from _answers([[data_command(queue, each.job)] for each in batch])
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

    def _ask(self, asked: Mapping[QueueId, Sequence[ReadCommand]]) -> dict[QueueId, list[Reply]]:
        """The replies of queues that can be read; each other one has its reason in `sentences`."""
        return self._ask_packed({queue: pack_request(commands) for queue, commands in asked.items()})

    def _ask_packed(self, requests: Mapping[QueueId, Request]) -> dict[QueueId, list[Reply]]:
        answers = ask_packed(self._deployment, self.slot_map, self._deadline, requests, pool=_POOL)
        readable: dict[QueueId, list[Reply]] = {}
        for queue, answer in answers.items():
            error = answer.message if isinstance(answer, Failed) else refusal(answer)
            if isinstance(answer, Failed) or error is not None:
                self._failures[queue] = str(error)
            else:
                readable[queue] = answer
        return readable


def _checked(
    queue: QueueId, library: Library, sightings: list[Sighting], version: str, at: float
) -> Steps[list[Sighting] | None]:
    """Look again for next jobs that are not there: a worker may have taken one and added another."""
    unnamed = [each.member for each in sightings if each.job.state == "none" and each.member.key]
    renamed: dict[Member, JobFacts] = {}
    hidden: set[Member] = set()
    for batch in _batches(unnamed):
        answers = yield from _answers([second_look(queue, member, library) for member in batch])
        if answers is None:
            return None
        for member, replies in zip(batch, answers, strict=True):
            job, any_due = parse_second_look(member, library, replies)
            if job is not None:
                renamed[member] = job
            elif any_due or (member.at_ms < at * 1000 and names_by_data(version)):
                hidden.add(member)
    sightings = [each._replace(job=renamed.get(each.member, each.job)) for each in sightings]
    gone = {each.member for each in sightings if each.job.state in ("none", "finished")}
    if gone:
        again = yield from _answers([[head_command(queue, len(sightings))]])
        if again is None:
            return None
        hidden |= gone - set(members(again[0][0], library))
    return [each._replace(hidden=each.member in hidden) for each in sightings]


def _options(
    queue: QueueId, sightings: Sequence[Sighting], before: Mapping[str, Remembered]
) -> Steps[dict[str, Options]]:
    """The options of the next jobs that are new since the last round."""
    new = [
        each
        for each in sightings
        if 0 < each.job.options_length <= MOST_OPTIONS
        and not knows_options(before.get(each.member.text), each)
    ]
    options: dict[str, Options] = {}
    for batch in _batches(new):
        answers = yield from _answers([[options_command(queue, each.job)] for each in batch])
        pairs = zip(batch, answers or (), strict=False)
        options |= {each.member.text: parse_options(replies[0]) for each, replies in pairs}
    return options


def _lost(
    queue: QueueId,
    sightings: list[Sighting],
    before: Mapping[str, Remembered],
    options: Mapping[str, Options],
) -> Steps[list[Sighting]]:
    """Of a queue without a waiting or active job: a next job must be among the delayed. Bull's empty()
    removes it from there only, and what evicts a set leaves its jobs."""
    lost: set[Member] = set()
    for batch in _batches([each for each in sightings if each.job.state == "pending"]):
        asked: list[list[ReadCommand]] = []
        for each in batch:
            name = each.member.text
            memory = before.get(name)
            known = memory.options if memory and knows_options(memory, each) else None
            asked.append([due_command(queue, next_run(each, options.get(name, known)))])
        answers = yield from _answers(asked)
        pairs = zip(batch, answers or (), strict=False)
        lost |= {each.member for each, replies in pairs if replies[0] == 0}
    return [each._replace(lost=each.member in lost) for each in sightings]


def _answers(asked: Sequence[Sequence[ReadCommand]]) -> Steps[list[list[Reply]] | None]:
    """The replies to each part of a request, in order; None if there are none."""
    flat = [command for part in asked for command in part]
    if not flat:
        return [[] for _ in asked]
    answers = yield flat
    if answers is None:
        return None
    replies = iter(answers)
    return [list(islice(replies, len(part))) for part in asked]


def _batches(items: Sequence[_T]) -> Iterator[list[_T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, _BATCH)):
        yield batch
