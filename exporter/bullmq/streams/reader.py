"""Reads the streams of one node, round by round."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from exporter.bullmq.streams.budget import BUDGET, HEADROOM, StreamSize
from exporter.bullmq.streams.protocol import StreamInfo, stream_info
from exporter.bullmq.streams.read_round import FollowedStreams, NodeFailedError, ReadRound
from exporter.bullmq.streams.stream import Stream
from exporter.redis.clocks import parse_time
from exporter.redis.protocol import Reply, ReplyError
from service.clock import monotonic

RETRY_SECONDS: Final = 1.0
MAX_PAUSE: Final = 1.0  # seconds between two rounds
_MIN_PAUSE, _MIN_IDLE_PAUSE = 0.1, 0.25
_IDLE_SHARE: Final = 100  # an idle reader waits 100 times the duration of a round: it works 1 % of the time
_MIN_LENGTH: Final = 100  # entries: a stream is trimmed in steps of this size
_MIN_BUDGET: Final = 64_000  # bytes of an answer that arrives over any connection
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
        self._ahead: set[Stream] = set()
        self._ahead_ms: int | None = None  # how far the server's clock is ahead of ours

    def step(self) -> float:
        """Read new entries; the seconds until the next round, 0 if there is more."""
        started = monotonic()
        streams = [stream for stream in self.streams if stream.retry_at <= started]
        if not streams:
            return MAX_PAUSE
        more = False
        try:
            for asked, part in _by_node(streams):
                at = asked or self._address
                more |= ReadRound(self, self._control, at, asking=asked is not None).read(part)
        except NodeFailedError:
            return RETRY_SECONDS
        return 0.0 if more else self._pause(streams, monotonic() - started)

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

    def _pause(self, streams: Iterable[Stream], duration: float) -> float:
        """Seconds until the next round: the busiest stream is read several times before it is trimmed."""
        at = monotonic()
        since, self._measured_at = max(at - self._measured_at, _MIN_PAUSE), at
        seconds = min(MAX_PAUSE, max(_MIN_IDLE_PAUSE, duration * _IDLE_SHARE))
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
