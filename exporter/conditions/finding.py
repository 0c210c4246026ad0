"""What a condition finds in a snapshot, and the parts of its texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import nlargest
from shlex import quote
from typing import Final, NamedTuple, TypeAlias, overload

from exporter.address import is_socket
from exporter.bullmq.keys import DEFAULT_PREFIX
from exporter.bullmq.placement import SlotMap
from exporter.config.health import HealthSettings
from exporter.snapshot.queues import BullMQState, QueueId
from exporter.snapshot.redis import Access
from exporter.snapshot.whole import Snapshot
from service.i18n import Message, Parameter
from service.outcome import value_or_none
from service.units import readable

REDIS_CLI: Final = "redis-cli "
"""How a command begins that is sent to a server."""
NAMED: Final = 3
"""How many of several causes a text names."""
_FEW: Final = 16  # queues that are found without putting all in order


class Affected(NamedTuple):
    """A queue, a node, an endpoint that a condition concerns; `value` in the unit of what was measured.

    `queue` is the one that it is, or that it belongs to, as a scheduler does; None: it has none.
    """

    subject: str
    value: float
    queue: QueueId | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a rule; its name is the key in RULES, its penalty is a setting. `affected`: the worst
    first; none where it is the whole source."""

    source: str
    title: Message
    measured: Message
    threshold: Message
    recommendation: Message
    affected: Sequence[Affected] = ()


Rule: TypeAlias = Callable[[Snapshot, HealthSettings], Finding | None]


def redis_cli(address: str) -> str:
    """The redis-cli command for this node; redis-cli expects an IPv6 address without brackets.

    It is pasted into a shell, and a server says itself what its cluster's nodes are called.
    """
    if is_socket(address):
        return f"redis-cli -s {quote(address)}"
    host, _, port = address.rpartition(":")
    return f"redis-cli -h {quote(host.strip('[]'))} -p {quote(port)}"


USER: Final = "USER"
"""Stands for the exporter's user in commands and texts, until `as_reached` knows its name."""


def as_reached(message: Message, access: Access) -> Message:
    """The message with commands that work where the servers want TLS or a password, and the user's name."""
    return Message(
        message.id, **{name: _as_reached(value, access) for name, value in message.parameters.items()}
    )


def _as_reached(value: Parameter, access: Access) -> Parameter:
    if isinstance(value, Message):
        return as_reached(value, access)
    if isinstance(value, tuple):
        return tuple(as_reached(item, access) if isinstance(item, Message) else item for item in value)
    if value == USER:
        return access.user
    return reached_command(value, access) if isinstance(value, str) else value


def reached_command(command: str, access: Access) -> str:
    """A command of redis-cli with the options that its server wants, and the user's name."""
    if not command.startswith(REDIS_CLI):
        return command
    options = "".join(f"{option} " for option in access.options if f" {option} " not in command)
    command = f"{REDIS_CLI}{options}{command.removeprefix(REDIS_CLI)}"
    return command.replace(f" {USER} ", f" {quote(access.user)} ")


def any_node(snapshot: Snapshot) -> str:
    """The address of a node that answers, or a placeholder."""
    state = value_or_none(snapshot.redis)
    return min(state.readings(), default="HOST:PORT") if state else "HOST:PORT"


def node_of(queue: QueueId, snapshot: Snapshot) -> str:
    """The address of the node that has the queue's keys, or of any if that one does not answer."""
    state = value_or_none(snapshot.redis)
    owner = SlotMap(state.topology).owner(queue) if state else None
    return owner if state and owner in state.readings() else any_node(snapshot)


def any_redis_cli(snapshot: Snapshot) -> str:
    """The redis-cli command for a node that answers, or with a placeholder."""
    return redis_cli(any_node(snapshot))


def first_few(items: Sequence[str | Message]) -> tuple[str | Message, ...]:
    """The first few, and how many more."""
    more = len(items) - NAMED
    return (*items[:NAMED], Message("issue.more", count=more)) if more > 0 else tuple(items)


def texts_of_worst(worst: Sequence[QueueId], text: Callable[[QueueId], Message]) -> tuple[str | Message, ...]:
    """The texts of the first few queues, and how many more there are; no other text is made."""
    return first_few([*map(text, worst[:NAMED]), *[""] * (len(worst) - NAMED)])


class AffectedQueues(Sequence[Affected]):
    """Queues, the worst first, and what was measured: each `Affected` is made when it is asked for, as of
    thousands of queues a scrape shows ten."""

    def __init__(self, worst: Sequence[QueueId], measured: Mapping[QueueId, float]) -> None:
        self._worst, self._measured = worst, measured

    @overload
    def __getitem__(self, index: int) -> Affected: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Affected, ...]: ...
    def __getitem__(self, index: int | slice) -> Affected | tuple[Affected, ...]:
        if isinstance(index, slice):
            return tuple(map(self._affected, self._worst[index]))
        return self._affected(self._worst[index])

    def __len__(self) -> int:
        return len(self._worst)

    def __iter__(self) -> Iterator[Affected]:
        return map(self._affected, self._worst)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def _affected(self, queue: QueueId) -> Affected:
        return Affected(queue_subject(queue), self._measured[queue], queue)


def and_more_nodes(measured: Message, more: int) -> Message:
    """What was measured at the worst node, and at how many others the condition holds too."""
    if not more:
        return measured
    return Message("issue.text", text=(measured, Message("issue.more_nodes", count=more)))


def worst_first(values: Mapping[str, float]) -> tuple[Affected, ...]:
    """The subjects by their values, the highest first, equal ones by name."""
    return tuple(Affected(*pair) for pair in sorted(values.items(), key=lambda pair: (-pair[1], pair[0])))


class _WorstFirst(Sequence[QueueId]):
    """Queues by what was measured, the highest first, equal ones by name. All of them are put in order when
    somebody asks for more than the first few: of thousands of queues a scrape shows ten."""

    def __init__(self, measured: Mapping[QueueId, float]) -> None:
        self._measured = measured

    @overload
    def __getitem__(self, index: int) -> QueueId: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[QueueId]: ...
    def __getitem__(self, index: int | slice) -> QueueId | Sequence[QueueId]:
        last = index if isinstance(index, int) else index.stop
        few = last is not None and 0 <= last <= _FEW
        if isinstance(index, slice) and (index.step or (index.start or 0) < 0):
            few = False
        return (self._few if few and len(self._few) > last else self._all)[index]

    def __len__(self) -> int:
        return len(self._measured)

    @cached_property
    def _all(self) -> list[QueueId]:
        return self._in_order(self._measured)

    @cached_property
    def _few(self) -> list[QueueId]:
        """The first few, and all that are equal to the last of them."""
        values = nlargest(_FEW + 1, self._measured.values())
        return self._in_order([queue for queue, value in self._measured.items() if value >= values[-1]])

    def _in_order(self, queues: Iterable[QueueId]) -> list[QueueId]:
        by_name = sorted(queues)
        return sorted(by_name, key=self._measured.__getitem__, reverse=True)  # equal ones stay in their order


def by_value(measured: Mapping[QueueId, float]) -> Sequence[QueueId]:
    """The queue with the highest value first, equal ones by name."""
    return _WorstFirst(measured)


def each_once(subjects: Sequence[str]) -> tuple[Affected, ...]:
    """Subjects that are affected or not, in their order: the value is 1."""
    return tuple(Affected(subject, 1.0) for subject in subjects)


def queue_label(queue: QueueId, state: BullMQState) -> str:
    """The name as the tables show it: with the prefix where there are several."""
    return readable(":".join(queue) if state.several_prefixes else queue.name)


def queue_subject(queue: QueueId) -> str:
    """What a queue is called in series and alerts, whatever other queues there are: a name that changed with
    the first queue of a second prefix would end an alert and begin another. As `one_each_queue` of the alerts
    has it."""
    return readable(queue.name if queue.prefix == DEFAULT_PREFIX else ":".join(queue))
