"""One survey of a node's queues, request by request, each of about a millisecond of the node's time. Pure."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple, TypeAlias, TypeVar

from exporter.bullmq.memory.commands import (
    SIZES_COMMANDS,
    USAGE_COMMANDS,
    Population,
    parse_rank,
    parse_sizes,
    parse_usage,
    rank_command,
    sizes_request,
    usage_commands,
)
from exporter.bullmq.memory.estimate import (
    Estimate,
    JobSample,
    RandomNumber,
    estimate,
    first_numbers,
    further_numbers,
    older_than,
    strata,
)
from exporter.redis.protocol import Reply, ReplyError, Request, pack_request
from exporter.snapshot.memory import KEPT, MemoryState, StateMemory
from exporter.snapshot.queues import QueueId

_COMMANDS: Final = 500  # in one request
_QUEUES: Final = _COMMANDS // SIZES_COMMANDS
_JOBS: Final = _COMMANDS // USAGE_COMMANDS
_PASSES: Final = 2  # after the first
_RETAINED: Final = frozenset({"completed", "failed"})
_T = TypeVar("_T")


class Survey(NamedTuple):
    """What was measured of each queue by state, and why nothing of the others."""

    measured: dict[QueueId, dict[MemoryState, StateMemory]]
    unread: dict[QueueId, str]


Requests: TypeAlias = Generator[Request, list[Reply], _T]
"""Requests to a node, one after the other; each is sent its replies."""


class _Sampled:
    """The samples of one population."""

    def __init__(self, population: Population) -> None:
        self.population = population
        self.passes: list[list[JobSample]] = []

    @property
    def number(self) -> int:
        return min(self.population.size, sum(map(len, self.passes)))

    def estimate(self) -> Estimate:
        return estimate(self.population.size, self.passes)


def survey(queues: Sequence[QueueId], most: int, draw: RandomNumber) -> Requests[Survey]:
    """Measure at most `most` jobs of these queues, of which all keys are on the node."""
    return (yield from _Look(most, draw).run(queues))


class _Look:
    def __init__(self, most: int, draw: RandomNumber) -> None:
        self._left = most
        self._draw = draw
        self._unread: dict[QueueId, str] = {}
        self._states: dict[QueueId, dict[MemoryState, StateMemory]] = {}

    def run(self, queues: Sequence[QueueId]) -> Requests[Survey]:
        populations = yield from self._sizes(queues)
        sampled = [_Sampled(population) for population in populations]
        numbers = first_numbers([each.population.size for each in sampled], self._left)
        yield from self._sample(sampled, numbers)
        for _ in range(_PASSES):
            numbers = further_numbers(
                [each.estimate() for each in sampled],
                [each.population.size for each in sampled],
                [each.number for each in sampled],
                self._left,
            )
            yield from self._sample(sampled, numbers)
        for each in sampled:
            self._add(each)
        measured = {queue: states for queue, states in self._states.items() if queue not in self._unread}
        return Survey(measured, self._unread)

    def _sizes(self, queues: Sequence[QueueId]) -> Requests[list[Population]]:
        populations: list[Population] = []
        remaining = iter(queues)
        while batch := list(islice(remaining, _QUEUES)):
            requests = [sizes_request(queue) for queue in batch]
            replies = yield Request(b"".join(each.packed for each in requests), len(batch) * SIZES_COMMANDS)
            for queue, own in zip(batch, _parts(replies, SIZES_COMMANDS), strict=True):
                sizes = parse_sizes(queue, own)
                if isinstance(sizes, ReplyError):
                    self._unread[queue] = str(sizes)
                    continue
                populations += sizes.populations
                self._states[queue] = {
                    "events": StateMemory(sizes.events),
                    "other": StateMemory(sizes.other),
                }
            if not self._states:  # a right is missing, or the command: it is the same for the rest
                why = next(iter(self._unread.values()))
                self._unread |= dict.fromkeys(remaining, why)
        return populations

    def _sample(self, sampled: Sequence[_Sampled], numbers: Sequence[int]) -> Requests[None]:
        """One more pass over the populations with a number."""
        tasks: list[tuple[_Sampled, list[JobSample], int]] = []
        for each, number in zip(sampled, numbers, strict=True):
            if number > 0:
                samples: list[JobSample] = []
                each.passes.append(samples)
                ranks = strata(each.population.size, number, self._draw)
                tasks += [(each, samples, rank) for rank in ranks]
                self._left -= len(ranks)
        remaining = (task for task in tasks if task[0].population.queue not in self._unread)
        while batch := list(islice(remaining, _JOBS)):
            yield from self._measure(batch)

    def _measure(self, batch: Sequence[tuple[_Sampled, list[JobSample], int]]) -> Requests[None]:
        replies = yield pack_request([rank_command(each.population, rank) for each, _, rank in batch])
        found: list[tuple[_Sampled, list[JobSample], int, bytes]] = []
        for (each, samples, rank), reply in zip(batch, replies, strict=True):
            job = parse_rank(reply)
            if isinstance(job, ReplyError):
                self._unread[each.population.queue] = str(job)
            elif job is None:
                samples.append(JobSample(rank, 0.0))
            else:
                found.append((each, samples, rank, job))
        if not found:
            return
        replies = yield pack_request(
            [command for each, _, _, job in found for command in usage_commands(each.population, job)]
        )
        for (each, samples, rank, _), own in zip(found, _parts(replies, USAGE_COMMANDS), strict=True):
            size = parse_usage(own)
            if isinstance(size, ReplyError):
                self._unread[each.population.queue] = str(size)
            else:
                samples.append(JobSample(rank, size))

    def _add(self, each: _Sampled) -> None:
        """Add a population to the state of its queue: `wait` and `paused` are the same one."""
        population = each.population
        states = self._states[population.queue]
        jobs, error = each.estimate()
        older = None
        if population.state in _RETAINED and population.size > KEPT:
            older = older_than(population.size, KEPT, each.passes)
        before = states.get(population.state, StateMemory(0.0, jobs=0))
        states[population.state] = StateMemory(
            before.bytes + jobs + population.own_bytes,
            (before.error**2 + error**2) ** 0.5,
            (before.jobs or 0) + population.size,
            before.samples + each.number,
            older,
        )


def _parts(replies: Sequence[Reply], length: int) -> Iterator[Sequence[Reply]]:
    for start in range(0, len(replies), length):
        yield replies[start : start + length]
