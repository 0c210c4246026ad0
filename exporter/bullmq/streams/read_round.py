"""One round over the streams of a node: measures them, asks for what is small, applies the answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol, TypeAlias, cast

from exporter.bullmq.counts import MOVED
from exporter.bullmq.streams.budget import (
    ASSUMED,
    BATCH,
    BUDGET,
    MAX_ENTRY,
    NodeSearch,
    StreamSize,
    alike,
    groups,
    may_begin_large,
)
from exporter.bullmq.streams.events import Entry
from exporter.bullmq.streams.protocol import MAX_STREAMS, StreamCheck, StreamInfo, entries_of, xread
from exporter.bullmq.streams.stream import START, Stream
from exporter.redis.clocks import parse_time
from exporter.redis.protocol import MAX_COMMANDS, Reply, ReplyError, Request, pack, whole_of
from service.clock import monotonic, now
from service.outcome import Failed

_MAX_LATE: Final = 2  # how often entries are asked for that do not arrive in time
_KEY_ERRORS: Final = frozenset({"WRONGTYPE", "NOPERM"})
_UNKNOWN_LENGTH: Final = 1 << 40
_ASKING: Final = pack("ASKING")
_TIME: Final = pack("TIME")
Infos: TypeAlias = "dict[Stream, StreamInfo | ReplyError | None]"


class NodeFailedError(Exception):
    """No answer, or none in time."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message)
        self.failed = failed


class FollowedStreams(Protocol):
    """What a reader needs of the follower."""

    started_ms: int

    @property
    def slowdown(self) -> float: ...
    def execute(self, address: str, request: Request) -> list[Reply] | Failed: ...
    def exclusive(self) -> AbstractContextManager[None]: ...
    def fed(self) -> None: ...
    def handle_error(self, stream: Stream, error: ReplyError) -> None: ...
    def report(self, kind: str, text: str, event: str = ...) -> None: ...


class ReaderState(Protocol):
    """What a round needs of its reader, which remembers it from round to round."""

    budget: int

    def owns(self, stream: Stream) -> bool: ...
    @property
    def combines(self) -> bool: ...
    def combine_no_more(self) -> None: ...
    @property
    def measures(self) -> bool: ...
    def measure_refused(self, error: ReplyError) -> None: ...
    def measured_ahead(self, stream: Stream) -> None: ...
    def take_ahead(self) -> set[Stream]: ...
    def info_request(self, stream: Stream) -> bytes: ...
    def info(self, reply: Reply) -> StreamInfo | ReplyError: ...
    def entries_of_info(self, size: StreamSize) -> int: ...
    def asked_for_too_much(self) -> None: ...
    def arrived(self) -> None: ...
    @property
    def clock_known(self) -> bool: ...
    def set_clock(self, reply: Reply, asked_ms: int) -> None: ...
    def server_ms(self, ours_ms: int) -> int: ...


class ReadRound:
    """One round of a reader at one node: its own, or one to which it is moving a slot (`asking`)."""

    def __init__(self, reader: ReaderState, control: FollowedStreams, address: str, *, asking: bool) -> None:
        self._reader = reader
        self._control = control
        self._address = address
        self._asking = asking
        self._active_memory: dict[Stream, int] = {}
        self._due: set[Stream] = set()  # whose own counts are read in this round

    def read(self, streams: Sequence[Stream]) -> bool:
        """Read each of these streams once; whether one has more. Raises NodeFailedError."""
        readable = self._measure(streams)
        self._start([stream for stream in readable if stream.last is None])
        at = monotonic()
        readable = [stream for stream in readable if stream.last is not None and stream.retry_at <= at]
        for stream in readable:
            if stream.size.needs_search:
                self._search(stream)
        self._measure_active([stream for stream in readable if stream.needs_seed])
        due = [stream for stream in readable if stream in self._due]
        infos = self._infos([stream for stream in due if not self._small(stream)])
        self._due.difference_update(infos)
        sizes = [(stream, stream.size, self._besides(stream)) for stream in readable]
        assumed = max((stream.size.largest for stream in readable), default=0)
        more = False
        for group in groups(sizes, self._reader.budget, assumed):
            more |= self._read_group(group, infos)
        return more

    # --- steps ---

    def _measure(self, streams: Sequence[Stream]) -> list[Stream]:
        """Ask for the memory of each stream; those without an error."""
        at = monotonic()
        clock = [] if self._reader.clock_known else [_TIME]
        measures = self._reader.measures
        ahead = self._reader.take_ahead()  # measured with the entries before these, a moment ago
        measured = [stream for stream in streams if stream not in ahead] if measures else []
        self._due = {stream for stream in streams if stream.check_due(at)}
        checked = [stream for stream in measured if stream in self._due]
        requests = [stream.memory_request for stream in measured]
        requests += [stream.sample_request(1) for stream in checked]
        asked_ms = int(now() * 1000)
        replies = iter(self._ask([*clock, *requests]))
        if clock:
            self._reader.set_clock(next(replies), asked_ms)
        readable = [stream for stream in streams if stream in ahead or not measures]
        for stream in measured:
            memory = next(replies)
            if isinstance(memory, ReplyError) and memory.code in MOVED:
                self._fail(stream, memory)
                continue
            if isinstance(memory, ReplyError):
                self._reader.measure_refused(memory)
            stream.size.memory = _number(memory)
            readable.append(stream)
        if not measures:
            for stream in streams:
                stream.size.memory = None
        for stream in checked:
            stream.size.first_node = _number(next(replies))
        return readable

    def _measure_active(self, streams: Sequence[Stream]) -> None:
        """The memory of the lists of active jobs: ids may be of any length; too large lists are not read."""
        if not self._reader.measures:
            return
        replies = self._ask([stream.active_memory_request for stream in streams])
        for stream, reply in zip(streams, replies, strict=True):
            memory = _number(reply)
            if memory is not None and memory <= BUDGET // 2:
                self._active_memory[stream] = memory
            elif memory is not None:
                stream.needs_seed = False

    def _start(self, streams: Sequence[Stream]) -> None:
        self._due.difference_update(streams)
        for stream, info in self._infos(streams).items():
            if isinstance(info, ReplyError):
                self._fail(stream, info)
                continue
            now_ms = self._now_ms() if info is None else 0
            with self._control.exclusive():
                if stream.last is None and self._reader.owns(stream):
                    started_ms = self._reader.server_ms(self._control.started_ms)
                    stream.start(info, monotonic(), started_ms=started_ms, now_ms=now_ms)
                    if stream.last != START:
                        stream.size.all_read()

    def _search(self, stream: Stream) -> None:
        """Find out how large an unread entry may be, and pass over what is too large to be read."""
        first: list[Reply] = []
        info = self._infos([stream])[stream]
        if info is None:
            first = self._ask([stream.sample_request(samples) for samples in (1, 2, 4)])
            if not may_begin_large(self._length(stream), _number(first[0]) or 0):
                info = self._infos([stream], MAX_ENTRY)[stream]
        if isinstance(info, ReplyError):
            self._fail(stream, info)
            return
        if info is not None:
            stream.size.nodes = info.nodes
        search = NodeSearch(stream.size.nodes)
        while search.wanted:
            search.learn(self._ask([stream.sample_request(samples) for samples in search.wanted]))
        too_large = search.too_large
        unread = stream.size.unread or 0
        if info is None:
            too_large = too_large or alike(first)
        elif search.last_unknown:
            entries = stream.unread_entries(info)
            too_large = too_large or search.last_at_least(info.first_bytes) > MAX_ENTRY
            too_large = too_large or (entries is not None and unread > entries * MAX_ENTRY // 4)
        if too_large:
            self._skip(
                stream,
                info,
                f"one of the unread events, {unread // 1_000_000} MB, is too large",
            )
        else:
            stream.size.searched(search.count)

    def _skip(self, stream: Stream, info: StreamInfo | None, why: str) -> None:
        length, now_ms = (self._length(stream), self._now_ms()) if info is None else (0, 0)
        with self._control.exclusive():
            if not self._reader.owns(stream):
                return
            stream.skip(info, length, why, monotonic(), now_ms=now_ms)
        text = f"{stream.name}: {why}; lost up to there"
        self._control.report(f"SKIPPED {stream.name}", text, "events too large to read")

    def _read_group(self, group: Sequence[tuple[Stream, int]], infos: Infos) -> bool:
        """One request; whether one of its streams has more."""
        streams = [stream for stream, _ in group]
        with self._control.exclusive():
            after = {stream: stream.last for stream in streams}
            position = {stream: stream.last_bulk for stream in streams}
        seeding = [stream for stream in streams if stream.needs_seed]
        checking = [stream for stream in streams if stream in infos or stream in self._due]
        requests = [_TIME]  # before the entries: all that happened until then is among them
        requests += [stream.active_request(measured=stream in self._active_memory) for stream in seeding]
        for stream in checking:
            requests += [] if stream in infos else [self._reader.info_request(stream)]
            requests += stream.counts_requests
        counts = dict(group)
        together = [stream for stream in streams if counts[stream] == BATCH] if self._reader.combines else []
        alone = [stream for stream in streams if counts[stream] != BATCH] if together else streams
        parts = [together[start : start + MAX_STREAMS] for start in range(0, len(together), MAX_STREAMS)]
        requests += [xread(BATCH, [(stream.key, position[stream]) for stream in part]) for part in parts]
        requests += [xread(counts[stream], [(stream.key, position[stream])]) for stream in alone]
        ahead = [stream for stream in streams if stream.behind] if self._reader.measures else []
        requests += [stream.memory_request for stream in ahead]
        try:
            replies = iter(self._ask(requests))
        except NodeFailedError as error:
            if error.failed.kind == "timeout":
                self._late(group)
            raise
        self._reader.arrived()
        time = parse_time(next(replies))
        ms = None if time is None else int(time * 1000)
        with self._control.exclusive():
            for stream in seeding:
                active = next(replies)
                if self._reader.owns(stream) and (error_reply := stream.seed(active, ms)) is not None:
                    self._control.report(error_reply.code, str(error_reply))
            checks = {}
            for stream in checking:
                info = infos[stream] if stream in infos else self._reader.info(next(replies))
                checks[stream] = _check(info, [next(replies) for _ in stream.counts_requests])
            batches = [pair for part in parts for pair in _combined(part, next(replies))]
            batches += [pair for stream in alone for pair in _combined([stream], next(replies))]
            more = self._apply(batches, counts, after, checks, ms, combined=bool(together))
            for stream in ahead:
                memory = _number(next(replies))
                if stream.behind and memory is not None:
                    stream.size.memory = memory
                    self._reader.measured_ahead(stream)
            return more

    def _apply(
        self,
        batches: Iterable[tuple[Stream, list[Entry] | ReplyError]],
        counts: dict[Stream, int],
        after: dict[Stream, bytes | None],
        checks: dict[Stream, StreamCheck | ReplyError | None],
        ms: int | None,
        *,
        combined: bool,
    ) -> bool:
        more, at = False, monotonic()
        for stream, batch in batches:
            if isinstance(batch, ReplyError):
                if combined and counts[stream] == BATCH and batch.code in _KEY_ERRORS:
                    # One key that is not a stream, or not readable, must not block the other streams.
                    self._reader.combine_no_more()
                    more = True
                else:
                    self._fail(stream, batch)
            elif not self._reader.owns(stream) or stream.last != after[stream]:
                continue
            elif not batch and stream not in checks:
                stream.nothing_new(at, ms)
            else:
                full = len(batch) >= counts[stream]
                check = checks.get(stream)
                usable = check if isinstance(check, StreamCheck) else None
                stream.apply(batch, usable, at, ms, full=full)
                stream.size.took(batch, asked=counts[stream])
                if stream in checks and not isinstance(check, StreamCheck):
                    stream.postpone_check(at)
                if isinstance(check, ReplyError):
                    self._control.report(check.code, str(check))
                more |= full
        return more

    # --- parts of steps ---

    def _ask(self, requests: Sequence[bytes]) -> list[Reply]:
        """The replies, of many commands in pieces. Raises NodeFailedError."""
        replies: list[Reply] = []
        for start in range(0, len(requests), MAX_COMMANDS):
            some = requests[start : start + MAX_COMMANDS]
            if self._asking:
                some = [part for request in some for part in (_ASKING, request)]
            outcome = self._control.execute(self._address, Request(b"".join(some), len(some)))
            if isinstance(outcome, Failed):
                raise NodeFailedError(outcome)
            replies += outcome[1::2] if self._asking else outcome
        return replies

    def _fail(self, stream: Stream, error: ReplyError) -> None:
        """After ASK the next round is at the node to which the slot moves; a slot that stays ends that."""
        stream.asked = str(error).split()[-1] if error.code == "ASK" and not self._asking else None
        self._control.handle_error(stream, error)

    def _infos(self, streams: Sequence[Stream], known: int | None = None) -> Infos:
        """XINFO STREAM of each stream; None if its answer would be too large. `known` are the bytes of the
        first entry, if not those that the streams know."""
        infos: Infos = dict.fromkeys(streams)
        pending = list(streams)
        for _ in range(2):  # the second time in the short form, if the server does not know the other
            sizes = [
                (stream, StreamSize(), known or self._reader.entries_of_info(stream.size))
                for stream in pending
            ]
            for group in groups([size for size in sizes if size[2] <= MAX_ENTRY], BUDGET, 0):
                named = [stream for stream, _ in group]
                replies = self._ask([self._reader.info_request(stream) for stream in named])
                infos |= zip(named, map(self._reader.info, replies), strict=True)
                for stream in named:
                    info = infos[stream]
                    if isinstance(info, StreamInfo):
                        stream.size.largest = max(stream.size.largest, info.first_bytes)
            pending = [stream for stream, info in infos.items() if _is_unknown_form(info)]
        return infos

    def _length(self, stream: Stream) -> int:
        """The entries that the stream has; where XLEN is refused more than any stream has."""
        length = _number(self._ask([stream.length_request])[0])
        return _UNKNOWN_LENGTH if length is None else length

    def _small(self, stream: Stream) -> bool:
        """Whether XINFO STREAM may be read together with entries."""
        return self._reader.entries_of_info(stream.size) <= ASSUMED * 2

    def _besides(self, stream: Stream) -> int:
        """Bytes that are read of a stream besides its entries, at most."""
        info = self._reader.entries_of_info(stream.size) if stream in self._due else 0
        return info + self._active_memory.get(stream, 0)

    def _now_ms(self) -> int:
        """The time of Redis: an id that is later than that would pass over events that are still to come."""
        return int((parse_time(self._ask([_TIME])[0]) or now()) * 1000)

    def _late(self, group: Sequence[tuple[Stream, int]]) -> None:
        """Ask for less, down to one entry, and not for ever for that one."""
        self._reader.asked_for_too_much()
        if len(group) > 1:
            return
        ((stream, _),) = group
        stream.late += 1
        unread = stream.size.unread
        if stream.late >= _MAX_LATE and (unread is None or unread > ASSUMED):
            stream.late = 0
            self._skip(stream, None, "the next event does not arrive in time")


def _combined(streams: Sequence[Stream], reply: Reply) -> list[tuple[Stream, list[Entry] | ReplyError]]:
    """The entries of each stream; if the XREAD was refused, the same error for all."""
    entries = entries_of(reply)
    if isinstance(entries, ReplyError):
        return [(stream, entries) for stream in streams]
    return [(stream, entries.get(stream.raw_key, [])) for stream in streams]


def _check(info: StreamInfo | ReplyError | None, replies: Sequence[Reply]) -> StreamCheck | ReplyError | None:
    if not isinstance(info, StreamInfo):
        return info
    *jobs, limit = replies
    length = limit[0] if isinstance(limit, list) and limit else None
    return StreamCheck(
        info,
        cast("Any", tuple(jobs)) if all(isinstance(count, int) for count in jobs) else None,
        whole_of(length),
    )


def _is_unknown_form(info: StreamInfo | ReplyError | None) -> bool:
    return isinstance(info, ReplyError) and info.code == "ERR"


def _number(reply: Reply) -> int | None:
    """An integer; a key that does not exist has none bytes; None for an error."""
    if reply is None:
        return 0
    return reply if isinstance(reply, int) else None
