"""How many entries of a stream may be asked for at once, so that no answer is large. Pure.

Redis builds the whole answer of a command in its own memory before the first byte leaves, and XREAD limits an
answer in entries, not in bytes. An entry holds what a job returned: it may have many MB. So an answer is
bounded by what is known of the bytes. MEMORY USAGE is at least the size of all that is in a stream, and
therefore, less what was read before, of all that is not read yet. Without that command only the entries that
were read of late are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, Final, TypeVar

from exporter.bullmq.events import Entry

BATCH: Final = 1000
"""Entries of a stream in one answer, at most."""
BUDGET: Final = 4_000_000
"""Bytes of all answers of a node in flight, but for one stream whose unread entries are larger."""
MAX_ENTRY: Final = 7_000_000
"""Bytes of the largest entry, and of the largest answer, that is asked for."""
ASSUMED: Final = 64_000
"""Bytes of an entry of a stream of which none was read yet; so many may be read besides other things."""
_SMALL: Final = 50  # bytes of the smallest entry in a stream's memory
_OVERHEAD: Final = 130  # bytes of names, ids and lengths that an entry has in an answer only
_RAMP: Final = 4  # after a whole batch the next one has so many times as many entries
_MAX_UNMEASURED: Final = 32  # entries in one answer where each may be of any size
_BOUNDS: Final = (MAX_ENTRY, 1_000_000, 256_000, 64_000)  # of the largest entry, each looked for in turn
_MAX_VISITED: Final = 600_000  # nodes that a search lets Redis visit: some 30 ms of its time, in many steps
_MAX_WANTED: Final = 50  # samples in one request
_T = TypeVar("_T")


class StreamSize:
    """What is known of one stream's bytes. `memory` is None where MEMORY USAGE is refused."""

    __slots__ = (
        "_all_read_at",
        "_ramp",
        "_read",
        "_searched_at",
        "first_node",
        "largest",
        "memory",
        "most",
        "nodes",
    )

    def __init__(self) -> None:
        self.memory: int | None = None
        self.first_node: int | None = None  # MEMORY USAGE with one sample
        self.nodes = 0  # of the stream's tree, as XINFO STREAM reported them last
        self.most: int | None = None  # bytes of the largest entry at most, by a search
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
        return self.most is None or self.memory > self._searched_at + BUDGET

    def searched(self, most: int | None) -> None:
        """No entry has more than `most` bytes; None: that is not known."""
        self.most, self._searched_at = most or MAX_ENTRY, self.memory or 0

    @property
    def first_entry(self) -> int:
        """Bytes of the stream's first entry, which XINFO STREAM answers with, as far as that is known."""
        if self.memory is None:
            return max(self.largest, ASSUMED)
        bounds = [self.memory]
        if self.first_node is not None:
            # The estimate has the first node once for each of the others, of which some may be gone since.
            bounds.append(self.first_node // max(1, self.nodes * 3 // 4 - 1))
        if self._all_read_at is not None:
            bounds.append(max(self._all_read_at, self.unread or 0))
        if not self.nodes and self.largest > ASSUMED:
            bounds.append(2 * self.largest)
        return min(bounds)

    def share(self, budget: int, assumed: int) -> tuple[int, int]:
        """How many entries may be asked for, and their bytes in the answer, at most.

        `assumed` are the bytes of an entry of a stream of which none was read.
        """
        unread = self.unread
        if unread is None:
            each = (self.largest or max(assumed, ASSUMED)) + _OVERHEAD
            count = max(1, min(self._ramp, budget // each))
            return count, count * each
        in_answer = unread + 2 * min(unread, BATCH * _OVERHEAD)
        if in_answer <= budget or (unread <= MAX_ENTRY and budget >= BUDGET // 2):
            return BATCH, in_answer
        return max(1, min(BATCH, budget // (self.most or MAX_ENTRY))), budget

    def took(self, batch: Sequence[Entry], *, asked: int) -> None:
        """Learn from entries that were read; fewer than `asked`: these were all."""
        unread = self.unread
        if batch and (unread is None or unread > BUDGET):
            sizes = [sum(map(len, fields)) for fields in map(itemgetter(1), batch)]
            faded = self.largest - self.largest * len(batch) // (10 * BATCH)
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
        self._all_read_at, self._read, self.most = self.memory, 0, None


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


class NodeSearch:
    """How large a stream's largest entry may be, without reading any.

    An entry is in one of the nodes of a tree. MEMORY USAGE with SAMPLES n answers with the mean of the first
    n of `nodes` nodes once for each node but the last, and the last itself (Redis, objectComputeSize): so the
    differences bound the size of each node but the last, which is at most the whole answer.
    `wanted` are the samples to ask for next. At the end `most` is the bound, if one was found; `too_large`
    says that an entry has more than MAX_ENTRY bytes, and `last_unknown` that those of the last node may have.
    """

    def __init__(self, nodes: int) -> None:
        self.most: int | None = None
        self.too_large = False
        self._inner = max(0, nodes - 1)
        self._usage: dict[int, int] = {}
        self._open = [(0, self._inner)] if self._inner else []
        self._bounds = iter(_BOUNDS)
        self._bound = next(self._bounds)
        self._visited = 0
        self.wanted = sorted({1, self._inner}) if self._inner else []

    @property
    def last_unknown(self) -> bool:
        return min(self._usage.values(), default=MAX_ENTRY + 1) > MAX_ENTRY

    def learn(self, answers: Sequence[Any]) -> None:
        """Take the answers to `wanted`, in its order."""
        if not all(isinstance(answer, int) for answer in answers):
            self.wanted = []
            return
        self._usage |= dict(zip(self.wanted, answers, strict=True))
        self.wanted = []
        while not self.wanted and self._step():
            pass

    def _step(self) -> bool:
        """Split the spans that may have a larger node than the bound; whether to go on without an answer."""
        split: list[tuple[int, int]] = []
        for start, end in self._open:
            if not ({start, end} - {0} <= self._usage.keys()):
                split.append((start, end))
            elif self._bytes(start, end) <= self._bound:
                continue
            elif end - start == 1:
                self.too_large = self._bound == MAX_ENTRY
                return False
            else:
                middle = (start + end) // 2
                split += [(start, middle), (middle, end)]
        self._open = split
        unknown = sorted({place for span in split for place in span} - {0} - self._usage.keys())
        if unknown:
            self.wanted = unknown[:_MAX_WANTED]
            self._visited += sum(self.wanted)
            if self._visited > _MAX_VISITED:
                self.wanted = []
            return False
        if split:
            return True
        self.most = self._bound
        self._bound = next(self._bounds, 0)
        self._open = [(0, self._inner)]
        return self._bound > 0

    def _bytes(self, start: int, end: int) -> float:
        """Of the nodes after `start` up to `end`, at most; the answers are whole numbers."""
        before = start * self._usage[start] if start else 0
        return (end * self._usage[end] - before) / self._inner + end
