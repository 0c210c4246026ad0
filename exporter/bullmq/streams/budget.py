"""How many entries of a stream may be asked for at once, so that no answer is large. Pure.

Redis builds the whole answer of a command in its own memory before the first byte leaves, and XREAD limits an
answer in entries, not in bytes. An entry holds what a job returned: it may have many MB. So an answer is
bounded by what is known of the bytes. MEMORY USAGE is at least the size of all that is in a stream, and
therefore, less what was read before, of all that is not read yet. Without that command only the entries that
were read of late are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any, Final, TypeVar

from exporter.bullmq.streams.events import Entry

BATCH: Final = 4000
"""Entries of a stream in one answer, at most."""
BUDGET: Final = 4_000_000
"""Bytes of all answers of a node in flight, but for one stream whose unread entries are larger."""
MAX_ENTRY: Final = 7_000_000
"""Bytes of the largest entry, and of the largest answer, that is asked for."""
ASSUMED: Final = 64_000
"""Bytes of an entry of a stream of which none was read yet; so many may be read besides other things."""
_SMALL: Final = 50  # bytes of the smallest entry in a stream's memory
_OVERHEAD: Final = 130  # bytes of names, ids and lengths that an entry has in an answer only
_CATCHING_UP: Final = 1000  # entries in one answer of several; more cost Python's garbage collector more
_FADE: Final = 10_000  # entries after which a large one is forgotten
_RAMP: Final = 4  # after a whole batch the next one has so many times as many entries
_MAX_UNMEASURED: Final = 8  # entries in one answer where each may be of any size
_LEVELS: Final = (1000, 250, 60, 16, 4, 1)  # entries in one answer that are looked for in turn
_MAX_VISITED: Final = 600_000  # nodes that a search lets Redis visit: some 30 ms of its time, in many steps
HEADROOM: Final = 2.5
"""How many times a stream is read before it could be trimmed."""
DEFAULT_LENGTH: Final = 10_000
"""Entries that BullMQ keeps of a stream where opts.maxLenEvents is not set."""
_NODE_BYTES: Final = 8192  # of a node with several entries, as it is allocated
_MAX_WANTED: Final = 50  # samples in one request
_T = TypeVar("_T")


def needed_length(peak_rate: float) -> int:
    """Entries that a stream must keep so that none is trimmed unread, in whole thousands.

    An idle stream is read once a second; at least what BullMQ keeps by default.
    """
    return max(DEFAULT_LENGTH, -int(-peak_rate * HEADROOM // 1000) * 1000)


class StreamSize:
    """What is known of one stream's bytes. `memory` is None where MEMORY USAGE is refused."""

    __slots__ = (
        "_all_read_at",
        "_count",
        "_ramp",
        "_read",
        "_searched_at",
        "first_node",
        "largest",
        "memory",
        "nodes",
    )

    def __init__(self) -> None:
        self.memory: int | None = None
        self.first_node: int | None = None  # MEMORY USAGE with one sample
        self.nodes = 0  # of the stream's tree, as XINFO STREAM reported them last
        self._count: int | None = None  # entries that may be asked for, by a search
        self.largest = 0  # bytes of the largest entry that was read of late; 0: none was
        self._searched_at = 0  # memory at that search
        self._all_read_at: int | None = None  # memory while all entries were read
        self._read = 0  # bytes that were read since then
        self._ramp = 1

    @property
    def unread(self) -> int | None:
        """Bytes of the entries that are not read yet, at most; None: unknown."""
        if self.memory is None:
            return None
        return max(0, self.memory - (self._all_read_at or 0) - self._read)

    @property
    def needs_search(self) -> bool:
        """Whether the entries that are not read yet may be too large, as far as is known."""
        unread = self.unread
        if self.memory is None or unread is None or unread <= MAX_ENTRY:
            return False
        return self._count is None or self.memory > self._searched_at + BUDGET

    def searched(self, count: int) -> None:
        """No `count` entries have more than MAX_ENTRY bytes."""
        self._count, self._searched_at = count, self.memory or 0

    @property
    def first_entry(self) -> int:
        """Bytes of the stream's first entry, which XINFO STREAM answers with, as far as that is known."""
        if self.memory is None:
            return max(self.largest, ASSUMED) if self.largest else MAX_ENTRY
        bounds = [self.memory]
        if self.first_node is not None:
            # The estimate has the first node once for each of the others, of which some may be gone since.
            bounds.append(self.first_node // max(1, self.nodes * 3 // 4 - 1))
        if self._all_read_at is not None:
            bounds.append(max(self._all_read_at, self.unread or 0))
        if not self.nodes and self.largest > ASSUMED:
            bounds.append(self.largest * 5 // 4)
        return min(bounds)

    def share(self, budget: int, assumed: int) -> tuple[int, int]:
        """How many entries may be asked for, and their bytes in the answer, at most.

        `assumed` are the bytes of an entry of a stream of which none was read.
        """
        unread = self.unread
        if unread == 0:
            return BATCH, 0
        if unread is None:
            each = (self.largest or max(assumed, ASSUMED)) + _OVERHEAD
            count = max(1, min(self._ramp, budget // each))
            return count, count * each
        count = BATCH if unread <= BATCH * _SMALL else _CATCHING_UP
        in_answer = unread + 2 * min(unread, count * _OVERHEAD)
        if in_answer <= budget or (unread <= MAX_ENTRY and budget >= BUDGET // 2):
            return count, in_answer
        return (self._count or 1) if budget >= BUDGET // 2 else 1, budget

    def took(self, batch: Sequence[Entry], *, asked: int) -> None:
        """Learn from entries that were read; fewer than `asked`: these were all."""
        unread = self.unread
        if batch and (unread is None or (unread > MAX_ENTRY and not self.nodes)):
            sizes = [_size(fields) for fields in map(itemgetter(1), batch)]
            faded = self.largest - self.largest * len(batch) // _FADE
            self.largest = max(faded, *sizes)
            self._read += sum(sizes)
        else:
            self._read += len(batch) * _SMALL
        if len(batch) < asked:
            self.all_read()
        else:
            self._ramp = min(_MAX_UNMEASURED, self._ramp * _RAMP)

    def all_read(self) -> None:
        """All that the memory was measured with is read, or will not be."""
        self._all_read_at, self._read, self._count = self.memory, 0, None


def _size(fields: Any) -> int:
    """Bytes of an entry; 0 of one whose fields are no texts."""
    try:
        return sum(map(len, fields))
    except TypeError:
        return 0


def groups(
    sizes: Sequence[tuple[_T, StreamSize, int]], budget: int, assumed: int
) -> Iterator[list[tuple[_T, int]]]:
    """The streams in groups to read one after the other, each with its number of entries.

    The answers of a group have at most `budget` bytes together, or it has one stream. The third part of
    `sizes` are the bytes of what is read of a stream besides its entries.
    """
    group: list[tuple[_T, int]] = []
    room = budget
    for stream, size, besides in sizes:
        count, cost = size.share(max(0, budget - besides), assumed)
        if group and cost + besides > room:
            yield group
            group, room = [], budget
        group.append((stream, count))
        room -= cost + besides
    if group:
        yield group


def may_begin_large(length: int, first: int) -> bool:
    """Whether a stream of `length` entries may begin with one that is far too large; `first` is MEMORY USAGE
    with one sample, which has the first node once for each of the others: a node has at most 100 entries."""
    return first // max(1, (length - 1) // 100) > 2 * MAX_ENTRY


def alike(usage: Sequence[Any]) -> bool:
    """Whether MEMORY USAGE is the same for each number of samples: the first nodes are alike, or so small
    beside the last one that they make no difference."""
    numbers = [value for value in usage if isinstance(value, int)]
    return len(numbers) == len(usage) > 0 and max(numbers) - min(numbers) <= max(numbers) // 100


class NodeSearch:
    """How many entries of a large stream may be asked for, without reading any.

    An entry is in one of the nodes of a tree. MEMORY USAGE with SAMPLES n answers with the mean of the first
    n of `nodes` nodes once for each node but the last, and the last itself (Redis, objectComputeSize): so the
    differences bound the bytes of any span of nodes without the last, which has at most the whole answer.
    `wanted` are the samples to ask for next. At the end no `count` entries, which lie in as many nodes at
    most, have more than MAX_ENTRY bytes; `too_large` says that one entry has more, and `last_unknown` that
    those of the last node may have.
    """

    def __init__(self, nodes: int) -> None:
        self.count = 1
        self.too_large = False
        self._inner = max(0, nodes - 1)
        self._usage: dict[int, int] = {}
        self._levels = iter(_LEVELS if self._inner else ())
        self._visited = 0
        self._spans: list[tuple[int, int]] = []
        self._next_level()
        self.wanted = sorted({1, *self._unknown()}) if self._inner else []

    @property
    def last_unknown(self) -> bool:
        return min(self._usage.values(), default=MAX_ENTRY + 1) > MAX_ENTRY

    def last_at_least(self, first_entry: int) -> int:
        """Bytes that the last node has at least, by those of the stream's first entry.

        Redis begins a new node for what does not fit (stream-node-max-bytes, 4096), and allocates some more.
        """
        first_node = max(first_entry * 5 // 4, _NODE_BYTES)
        return self._usage.get(1, 0) - first_node * self._inner

    def learn(self, answers: Sequence[Any]) -> None:
        """Take the answers to `wanted`, in its order."""
        if not all(isinstance(answer, int) for answer in answers):
            self.wanted = []
            return
        self._usage |= dict(zip(self.wanted, answers, strict=True))
        self.wanted = self._unknown()
        while not self.wanted and self._spans and self._go_on():
            self.wanted = self._unknown()
        self._visited += sum(self.wanted)
        if self._visited > _MAX_VISITED:
            self.wanted = []

    def _go_on(self) -> bool:
        """Whether more has to be known, once all about these spans is."""
        sizes = [self._bytes(start, end) for start, end in self._spans]
        if self._level > 1:
            if all(size + after <= MAX_ENTRY for size, after in pairwise([*sizes, 0])):
                self.count = self._level
                return False
            self._next_level()
            return True
        large = [span for span, size in zip(self._spans, sizes, strict=True) if size > MAX_ENTRY]
        self.too_large = any(end - start == 1 for start, end in large)
        middles = [(start, (start + end) // 2, end) for start, end in large]
        self._spans = [span for start, middle, end in middles for span in ((start, middle), (middle, end))]
        return not self.too_large

    def _next_level(self) -> None:
        """Shorter spans; at the last level those before it, of which the large ones are halved."""
        self._level = next(self._levels, 1)
        step = max(self._level, _LEVELS[-2])
        ends = [*range(step, self._inner, step), self._inner]
        self._spans = list(pairwise([0, *ends])) if self._inner else []

    def _unknown(self) -> list[int]:
        places = {place for span in self._spans for place in span}
        return sorted(places - {0} - self._usage.keys())[:_MAX_WANTED]

    def _bytes(self, start: int, end: int) -> float:
        """Of the nodes after `start` up to `end`, at most; the answers are whole numbers."""
        before = start * self._usage[start] if start else 0
        return (end * self._usage[end] - before) / self._inner + end
