"""Reads the streams of one node, round by round."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from exporter.bullmq.streams.budget import BUDGET, HEADROOM, StreamSize
from exporter.bullmq.streams.protocol import StreamInfo, stream_info
from exporter.bullmq.streams.quiet import QuietStreams
from exporter.bullmq.streams.read_round import FollowedStreams, NodeFailedError, ReadRound
from exporter.bullmq.streams.stream import Idle, Stream
from exporter.redis.clocks import parse_time
from exporter.redis.protocol import Reply, ReplyError, Request, pack
from service.clock import monotonic
from service.outcome import Failed

RETRY_SECONDS: Final = 1.0
MAX_PAUSE: Final = 1.0  # seconds between two rounds
_MAX_QUIET_PAUSE: Final = 3.0  # seconds between two looks at the lengths of very many streams
_FEW: Final = 300  # streams whose lengths are read in each round, while another stream is busy too
_MIN_PAUSE, _MIN_IDLE_PAUSE = 0.1, 0.25
_IDLE_SHARE: Final = 100  # an idle reader waits 100 times the duration of a round: it works 1 % of the time
_MIN_LENGTH: Final = 100  # entries: a stream is trimmed in steps of this size
_MIN_BUDGET: Final = 64_000  # bytes of an answer that arrives over any connection
_TIME: Final = pack("TIME")
_MEASURE_AGAIN: Final = 60.0  # seconds after MEMORY USAGE was refused


class Reader:
    """Reads the streams of one node. Both its streams and the reader of a stream may change at any time."""

    def __init__(self, control: FollowedStreams, address: str) -> None:
        self.streams: list[Stream] = []
        self.cluster = False
        self.budget = BUDGET
        self._control = control
        self._address = address
        self._one_stream_per_read = False
        self._short_info = False
        self._measured_at = monotonic()
        self._measure_after = 0.0
        self._awake: list[Stream] = []
        self._quiet = QuietStreams(address)
        self._look_due = 0.0
        self._begun_with: list[Stream] | None = None
        self._ahead: set[Stream] = set()
        self._ahead_ms: int | None = None  # how far the server's clock is ahead of ours

    def step(self) -> float:
        """Read new entries; the seconds until the next round, 0 if there is more."""
        started = monotonic()
        if self._begun_with is not self.streams:
            self._begun_with = self.streams
            self._awake = self._quiet.restart(self._begun_with)
        more = False
        try:
            self._awake += self._look_at_quiet()
            streams = [stream for stream in self._awake if stream.retry_at <= started]
            for asked, part in _by_node(streams):
                at = asked or self._address
                more |= ReadRound(self, self._control, at, asking=asked is not None).read(part)
        except NodeFailedError:
            return RETRY_SECONDS
        with self._control.exclusive():
            owned = [stream for stream in self._awake if self.owns(stream)]
            active = [stream for stream in owned if stream.recent]
            self._awake = [*active, *self._quiet.settle(stream for stream in owned if not stream.recent)]
        if active:
            self._control.fed()
        return 0.0 if more else self._pause(active, monotonic() - started)

    def _look_at_quiet(self) -> list[Stream]:
        """Ask for the lengths of the quiet streams; those that are to be read. Raises NodeFailedError."""
        started = monotonic()
        few = len(self._quiet) <= _FEW and self._slowdown == 1.0
        if started < self._look_due and not few:
            return []
        replies: list[Reply] = []
        ms = None
        for request in self._quiet.requests():
            # The time before the lengths: all that happened until then shows in them.
            timed = Request(_TIME + request.packed, request.replies + 1) if not replies else request
            outcome = self._control.execute(self._address, timed)
            if isinstance(outcome, Failed):
                raise NodeFailedError(outcome)
            if not replies:
                time = parse_time(outcome[0])
                ms = None if time is None else int(time * 1000)
            replies += outcome if replies else outcome[1:]
        at = monotonic()
        # Ten thousand lengths are 10 ms of Redis: then they are asked for every second or third second.
        pause = min(_MAX_QUIET_PAUSE, (at - started) * _IDLE_SHARE)
        self._look_due = started + max(pause, MAX_PAUSE * self._slowdown)
        with self._control.exclusive():
            return self._quiet.learn(replies, at, ms) if replies else []

    @property
    def idle(self) -> Idle:
        """When the streams that rest had nothing new."""
        return self._quiet.idle

    # --- for a round ---

    def owns(self, stream: Stream) -> bool:
        """Another node's reader may have it by now: a demoted master may hold entries that no other kept."""
        return stream.owner == self._address

    def asked_for_too_much(self) -> None:
        """An answer did not arrive in time: what is larger than that would always be late."""
        self.budget = max(_MIN_BUDGET, self.budget // 4)

    def arrived(self) -> None:
        self.budget = min(BUDGET, self.budget * 2)

    @property
    def combines(self) -> bool:
        """Whether one XREAD may name several streams: not across slots, nor once that was refused."""
        return not (self.cluster or self._one_stream_per_read)

    def combine_no_more(self) -> None:
        self._one_stream_per_read = True

    @property
    def measures(self) -> bool:
        """Whether to ask for the memory of streams."""
        return monotonic() >= self._measure_after

    def measure_refused(self, error: ReplyError) -> None:
        self._measure_after = monotonic() + _MEASURE_AGAIN
        text = f"MEMORY USAGE: {error}; events are read in small steps"
        self._control.report("MEMORY USAGE", text, "memory of streams not readable")

    def measured_ahead(self, stream: Stream) -> None:
        """The memory of a stream that has more is known for the next round."""
        self._ahead.add(stream)

    def take_ahead(self) -> set[Stream]:
        """The streams whose memory is known for this round."""
        ahead, self._ahead = self._ahead, set()
        return ahead

    def info_request(self, stream: Stream) -> bytes:
        return stream.short_info_request if self._short_info else stream.info_request

    def info(self, reply: Reply) -> StreamInfo | ReplyError:
        """The report; after an error that XINFO STREAM FULL is not known, the short form is used."""
        info = stream_info(reply)
        if isinstance(info, ReplyError) and info.code == "ERR" and not self._short_info:
            self._short_info = True
        return info

    def entries_of_info(self, size: StreamSize) -> int:
        """Bytes of the entries in the answer of XINFO STREAM, at most."""
        return size.first_entry * (2 if self._short_info else 1)

    @property
    def clock_known(self) -> bool:
        return self._ahead_ms is not None

    def set_clock(self, reply: Reply, asked_ms: int) -> None:
        """Take the answer of TIME: seconds and microseconds. Without one, the clocks are taken as equal.

        By our time before it was asked for: a stream may be older than the answer took to arrive.
        """
        if isinstance(reply, ReplyError):
            text = f"TIME: {reply}; the clock of Redis is taken as this one"
            self._control.report("TIME", text, "clock of redis not readable")
        seconds = parse_time(reply)
        self._ahead_ms = 0 if seconds is None else int(seconds * 1000) - asked_ms

    def server_ms(self, ours_ms: int) -> int:
        """A time of our clock in ms as the server's clock had it."""
        return ours_ms + (self._ahead_ms or 0)

    @property
    def _slowdown(self) -> float:
        return self._control.slowdown

    def _pause(self, streams: Iterable[Stream], duration: float) -> float:
        """Seconds until the next round: the busiest stream is read several times before it is trimmed."""
        at = monotonic()
        since, self._measured_at = max(at - self._measured_at, _MIN_PAUSE), at
        seconds = min(MAX_PAUSE, max(_MIN_IDLE_PAUSE, duration * _IDLE_SHARE)) * self._slowdown
        for stream in streams:
            if stream.recent:
                rate, stream.recent = stream.recent / since, 0
                seconds = min(seconds, max(stream.length, _MIN_LENGTH) / HEADROOM / rate)
        return max(_MIN_PAUSE, seconds)


def _by_node(streams: Sequence[Stream]) -> list[tuple[str | None, list[Stream]]]:
    """The streams by the node to which their slot moves; None for those that stay."""
    nodes: dict[str | None, list[Stream]] = {}
    for stream in streams:
        nodes.setdefault(stream.asked, []).append(stream)
    return list(nodes.items())
