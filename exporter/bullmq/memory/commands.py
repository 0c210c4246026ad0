"""The commands that measure a queue's memory, and what their replies say. All of them only read. Pure.

MEMORY USAGE looks at all elements of a key with SAMPLES 0, which are a million in some sets; by default at
the first five, which is wrong for the hash of a job: of a dozen fields one has nearly all bytes. With 64 it
is exact for each job, and bounded for whatever else a key may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from exporter.bullmq.keys import JOB_PARTS, OWN_KEYS, base
from exporter.bullmq.queue_commands import Key, QueueCommands
from exporter.redis.protocol import Argument, Reply, ReplyError, Request, pack_request
from exporter.snapshot.memory import MemoryState
from exporter.snapshot.queues import QueueId

_SAMPLES: Final = ("SAMPLES", 64)

_Kind: TypeAlias = Literal["list", "set"]


class _Place(NamedTuple):
    """A list or a sorted set that has jobs: its key, its kind, the state of its jobs, and what is before
    their ids in their keys."""

    key: str
    kind: _Kind
    state: MemoryState
    before_id: str = ""


_PLACES: Final = (
    _Place("wait", "list", "waiting"),
    _Place("paused", "list", "waiting"),
    _Place("active", "list", "active"),
    _Place("delayed", "set", "delayed"),
    _Place("prioritized", "set", "prioritized"),
    _Place("waiting-children", "set", "waiting-children"),
    _Place("completed", "set", "completed"),
    _Place("failed", "set", "failed"),
    _Place("repeat", "set", "schedulers", "repeat:"),
)
_SIZES: Final = QueueCommands(
    *(("LLEN" if place.kind == "list" else "ZCARD", Key(place.key)) for place in _PLACES),
    *(("MEMORY", "USAGE", Key(place.key), *_SAMPLES) for place in _PLACES),
    ("MEMORY", "USAGE", Key("events"), *_SAMPLES),
    *(("MEMORY", "USAGE", Key(key), *_SAMPLES) for key in OWN_KEYS),
)
SIZES_COMMANDS: Final = 2 * len(_PLACES) + 1 + len(OWN_KEYS)
"""Commands of `sizes_request`."""

USAGE_COMMANDS: Final = 1 + len(JOB_PARTS)
"""Commands that measure one job."""


class Population(NamedTuple):
    """The jobs of one list or sorted set of a queue: how many, and the bytes of the list or set itself."""

    queue: QueueId
    place: _Place
    size: int
    own_bytes: float

    @property
    def state(self) -> MemoryState:
        return self.place.state


class Sizes(NamedTuple):
    """What one look at a queue says: its lists and sets that are there, bytes of its event stream and of its
    other keys."""

    populations: tuple[Population, ...]
    events: float
    other: float


def sizes_request(queue: QueueId) -> Request:
    return _SIZES.request(queue)


def parse_sizes(queue: QueueId, replies: Sequence[Reply]) -> Sizes | ReplyError:
    """A key of another type than BullMQ's is left out; any other error leaves all of the queue unknown."""
    error = _error(replies)
    if error is not None:
        return error
    number = len(_PLACES)
    places = zip(_PLACES, replies[:number], replies[number : 2 * number], strict=True)
    populations = tuple(
        Population(queue, place, size, _bytes(own))
        for place, size, own in places
        if isinstance(size, int) and size > 0
    )
    events, *others = replies[2 * number :]
    return Sizes(populations, _bytes(events), sum(map(_bytes, others)))


def rank_command(population: Population, rank: int) -> tuple[Argument, ...]:
    """For the id of the job at this rank."""
    key = base(population.queue) + population.place.key
    if population.place.kind == "list":
        return "LINDEX", key, rank
    return "ZRANGE", key, rank, rank


def parse_rank(reply: Reply) -> bytes | ReplyError | None:
    """The job's id; None where the list has become shorter than that."""
    error = _error([reply])
    if error is not None:
        return error
    if isinstance(reply, list):
        reply = reply[0] if reply else None
    return reply if isinstance(reply, bytes) else None


def usage_commands(population: Population, job: bytes) -> list[tuple[Argument, ...]]:
    """For the bytes of a job, `USAGE_COMMANDS` of them."""
    key = (base(population.queue) + population.place.before_id).encode("utf-8", "surrogateescape") + job
    return [("MEMORY", "USAGE", key + part, *_SAMPLES) for part in (b"", *_PARTS)]


def parse_usage(replies: Sequence[Reply]) -> float | ReplyError:
    """The job's bytes with all that belongs to it; 0 for one that is gone."""
    error = _error(replies)
    return sum(map(_bytes, replies)) if error is None else error


_PARTS: Final = tuple(part.encode() for part in JOB_PARTS)


def timed(requests: Sequence[Request]) -> Request:
    """The requests as one, between two of TIME: the node's own clock says how long it took for them."""
    return Request(
        b"".join((_TIME.packed, *(request.packed for request in requests), _TIME.packed)),
        2 + sum(request.replies for request in requests),
    )


def seconds_between(first: Reply, last: Reply) -> float | None:
    """What passed on the node's clock between two replies to TIME; None without them."""
    begin, end = _time(first), _time(last)
    return end - begin if begin is not None and end is not None and end >= begin else None


_TIME: Final = pack_request([("TIME",)])
_MOST_DIGITS: Final = 15


def _time(reply: Reply) -> float | None:
    if not isinstance(reply, list) or len(reply) != 2:
        return None
    parts = [part for part in reply if isinstance(part, bytes) and part.isdigit()]
    if len(parts) != 2 or any(len(part) > _MOST_DIGITS for part in parts):
        return None
    seconds, micros = map(int, parts)
    return seconds + micros / 1e6


def _bytes(reply: Reply) -> float:
    """0 for a key that is not there: MEMORY USAGE says nothing of it."""
    return float(reply) if isinstance(reply, int) and reply >= 0 else 0.0


def _error(replies: Sequence[Reply]) -> ReplyError | None:
    errors = (reply for reply in replies if isinstance(reply, ReplyError))
    return next((error for error in errors if error.code != "WRONGTYPE"), None)
