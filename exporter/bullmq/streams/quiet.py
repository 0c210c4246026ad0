"""The streams of a node in which nothing happens: of each only the length is read. Without I/O.

An answer of XREAD has entries, which may be large: before it, Redis is asked how large. A length is a number.
One that changed shows that entries came, or that the stream is gone. Where as many were trimmed as came it is
the same: then a scrape, which asks for new entries, tells (`Idle.seen`), and each of these streams is read
anyway after `REREAD` seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from exporter.bullmq.streams.stream import Idle, Stream
from exporter.redis.protocol import MAX_COMMANDS, Reply, ReplyError, Request

REREAD: Final = 60.0
"""Seconds after which a stream is read whose length did not change."""
_SPREAD: Final = 50  # a round reads at most this part of all again: they began at the same time


class QuietStreams:
    """`settle` takes those that have nothing to read, `requests` asks for all, `learn` gives some back."""

    def __init__(self, address: str = "") -> None:
        self.idle = Idle(address)
        self.refused = False
        """Whether this user may not ask for lengths: then no stream is quiet."""
        self._streams: list[Stream] = []
        self._lengths: list[Reply] = []
        self._checked: list[float] = []
        self._requests: list[Request] | None = None

    def __len__(self) -> int:
        return len(self._streams)

    def settle(self, streams: Iterable[Stream]) -> list[Stream]:
        """Take those of the streams that are quiet; returns the others."""
        awake: list[Stream] = []
        for stream in streams:
            checked = None if self.refused else stream.settled_at
            if checked is None:
                awake.append(stream)
                continue
            stream.rest(self.idle)
            self._streams.append(stream)
            self._lengths.append(stream.length)
            self._checked.append(checked)
            self._requests = None
        return awake

    def restart(self, streams: Sequence[Stream]) -> list[Stream]:
        """These are the reader's streams now: those that are not quiet, and were not before."""
        kept = {stream for stream in streams if stream.idle is self.idle}
        if len(kept) < len(self._streams):
            self._keep([stream in kept for stream in self._streams])
        return [stream for stream in streams if stream not in kept]

    def requests(self) -> list[Request]:
        """The lengths of all, in requests of limited size."""
        if self._requests is None:
            commands = [stream.length_request for stream in self._streams]
            pieces = (commands[at : at + MAX_COMMANDS] for at in range(0, len(commands), MAX_COMMANDS))
            self._requests = [Request(b"".join(piece), len(piece)) for piece in pieces]
        return self._requests

    def learn(self, replies: list[Reply], at: float, ms: int | None) -> list[Stream]:
        """Those whose length has changed, that a scrape has seen move, or that are to be read anyway; the
        others had nothing new at `at`, when Redis' clock showed `ms`. `replies` are those to `requests`, in
        their order."""
        if replies == self._lengths:
            changed = [False] * len(replies)
        else:
            changed = [reply != length for reply, length in zip(replies, self._lengths, strict=True)]
            self.refused = any(isinstance(reply, ReplyError) and reply.code == "NOPERM" for reply in replies)
        due = {*self._due(at), *self._seen()}
        awake = [number in due or moved or self.refused for number, moved in enumerate(changed)]
        woken: list[Stream] = []
        if any(awake):
            woken = [stream for stream, leaves in zip(self._streams, awake, strict=True) if leaves]
            self._keep([not leaves for leaves in awake])
            for stream in woken:
                stream.wake()
        self.idle.at, self.idle.ms = at, ms  # not of those that are awake: they may have had something
        return woken

    def _due(self, at: float) -> Iterator[int]:
        """Those that were not read for long, some at a time; the list is in the order of their checks."""
        most = -(-len(self._streams) // _SPREAD)
        for number, checked in enumerate(self._checked):
            if at - checked < REREAD or number >= most:
                return
            yield number

    def _seen(self) -> list[int]:
        """Those that a scrape has seen move since the last time."""
        if not self.idle.seen:
            return []
        seen, self.idle.seen = self.idle.seen, set()
        return [number for number, stream in enumerate(self._streams) if stream in seen]

    def _keep(self, kept: Sequence[bool]) -> None:
        columns = zip(self._streams, self._lengths, self._checked, kept, strict=True)
        left = [(stream, length, checked) for stream, length, checked, stays in columns if stays]
        self._streams = [stream for stream, _, _ in left]
        self._lengths = [length for _, length, _ in left]
        self._checked = [checked for _, _, checked in left]
        self._requests = None
