"""What Bull publishes: names of channels, subscriptions, and the messages in the bytes received. No I/O.

Bull 3 and 4 write no event stream. Their scripts publish: `active@TOKEN`, `waiting@TOKEN`, `stalled@`,
`duplicated@TOKEN` and `debounced@TOKEN` with the id of a job, `completed` and `failed` with the id and all
that the job returned, or its error. The other channels have no id (`delayed`, `drained`, `paused`), or are as
large as the application makes them (`progress`), and are not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from exporter.bullmq.keys import base
from exporter.redis.protocol import Argument, pack
from exporter.snapshot.queues import QueueId

MAX_MESSAGE_BYTES: Final = 64 * 1024
"""A larger message is not received: its queue is not followed any more."""
_MAX_PARTS: Final = 4  # `pmessage`, the pattern, the channel, the text


_IDS: Final = ("active@", "waiting@", "stalled@", "duplicated@", "debounced@")
_ENDS: Final = ("completed", "failed")
_GLOB: Final = re.compile(r"([\\*?\[\]^-])")
_JOB_ID: Final = re.compile(rb'\{"jobId":\s*("(?:[^"\\]|\\.)*"|-?\d+)')


class ChannelMessage(NamedTuple):
    """A message on a channel of the queue whose keys begin with `base`; `kind` is without the worker's token.

    `size` are the bytes of the whole message, `job` is None if the message has no readable id; `reason` is
    why a job failed.
    """

    base: bytes
    kind: str
    job: bytes | None
    size: int
    reason: bytes = b""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Redis confirms a subscription; `channel` is a pattern too."""

    channel: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """Redis refuses the command that was sent first of those without an answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to PING: everything published before it was received."""

    text: bytes


Received: TypeAlias = ChannelMessage | Confirmed | Refused | Pong


class TooLargeError(Exception):
    """A message on `channel` has more than MAX_MESSAGE_BYTES; nothing after it can be read."""

    def __init__(self, channel: bytes, size: int) -> None:
        super().__init__(f"{size} bytes")
        self.channel = channel
        self.size = size


class NotPushedError(Exception):
    """The bytes received are not what a subscribed connection receives."""


def subscribe_patterns(prefixes: Iterable[str]) -> tuple[bytes, int]:
    """The command for the channels with ids of all queues under the prefixes, and how often it is confirmed.

    Redis compares each published message with every pattern: five for a prefix, not five for a queue.
    """
    escaped = [_GLOB.sub(r"\\\1", prefix) for prefix in prefixes]
    patterns = [f"{prefix}:*:{kind}*" for prefix in escaped for kind in _IDS]
    return pack("PSUBSCRIBE", *_raw(patterns)), len(patterns)


def subscribe_ends(queue: QueueId) -> tuple[bytes, int]:
    """The command for the channels of jobs that end, found by hash, and how often it is confirmed."""
    return pack("SUBSCRIBE", *_raw(_ends(queue))), len(_ENDS)


def unsubscribe_ends(queue: QueueId) -> bytes:
    """The command that ends `subscribe_ends`; it is never refused."""
    return pack("UNSUBSCRIBE", *_raw(_ends(queue)))


def _ends(queue: QueueId) -> list[str]:
    return [base(queue) + kind for kind in _ENDS]


def _raw(channels: Iterable[str]) -> list[Argument]:
    return [channel.encode("utf-8", "surrogateescape") for channel in channels]


class MessageParser:
    """Takes bytes as they arrive, and yields what is complete. After an error it must not be used again."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, received: bytes) -> Iterator[Received]:
        """Raises TooLargeError as soon as the size of a message is known, and NotPushedError."""
        self._buffer += received
        buffer, start = bytes(self._buffer), 0
        try:
            while start < len(buffer):
                parts, end = _push(buffer, start)
                message = _received(parts, end - start)
                start = end
                if message is not None:
                    yield message
        except _IncompleteError:
            pass
        finally:
            del self._buffer[:start]


class _IncompleteError(Exception):
    """The rest of a message has not arrived yet."""


def _push(buffer: bytes, start: int) -> tuple[list[bytes | int], int]:
    """One message from `start`, and where it ends."""
    line, at = _line(buffer, start)
    if line[:1] == b"-":
        return [line], at
    if line[:1] not in (b"*", b"$"):
        raise NotPushedError(line[:40].decode("ascii", "replace"))
    parts: list[bytes | int] = []
    if line[:1] == b"$":  # the answer to PING while nothing is subscribed
        parts, count, at = [b"pong"], 1, start
    else:
        count = _number(line)
        if count > _MAX_PARTS:
            raise NotPushedError(line[:40].decode("ascii", "replace"))
    for _ in range(count):
        line, at = _line(buffer, at)
        if line[:1] == b"$":
            size = _number(line)
            if size > MAX_MESSAGE_BYTES:
                raise TooLargeError(parts[-1] if parts and isinstance(parts[-1], bytes) else b"", size)
            if len(buffer) < at + size + 2:
                raise _IncompleteError
            parts.append(buffer[at : at + max(0, size)])
            at += size + 2 if size >= 0 else 0
        elif line[:1] == b":":
            parts.append(_number(line))
        else:
            raise NotPushedError(line[:40].decode("ascii", "replace"))
    return parts, at


def _line(buffer: bytes, start: int) -> tuple[bytes, int]:
    end = buffer.find(b"\r\n", start)
    if end < 0:
        if len(buffer) - start > MAX_MESSAGE_BYTES:
            raise NotPushedError(buffer[start : start + 40].decode("ascii", "replace"))
        raise _IncompleteError
    return buffer[start:end], end + 2


def _number(line: bytes) -> int:
    try:
        return int(line[1:])
    except ValueError:
        raise NotPushedError(line[:40].decode("ascii", "replace")) from None


def _received(parts: list[bytes | int], size: int) -> Received | None:
    match parts:
        case [b"message", bytes(channel), bytes(payload)] | [b"pmessage", _, bytes(channel), bytes(payload)]:
            return _message(channel, payload, size)
        case [b"subscribe" | b"psubscribe", bytes(channel), int()]:
            return Confirmed(channel)
        case [b"pong", bytes(text)]:
            return Pong(text)
        case [bytes(line)] if line.startswith(b"-"):
            return Refused(line[1:].decode("utf-8", "replace"))
    return None


def _message(channel: bytes, payload: bytes, size: int) -> ChannelMessage | None:
    """None for a channel that is not Bull's: a pattern matches what is called alike, too."""
    key, colon, last = channel.rpartition(b":")
    kind = last.partition(b"@")[0].decode("ascii", "replace")
    if kind in _ENDS:
        reason = _reason(payload) if kind == "failed" else b""
        return ChannelMessage(key + colon, kind, _job_id(payload), size, reason)
    if f"{kind}@" in _IDS:
        return ChannelMessage(key + colon, kind, payload, size)
    return None


def _reason(payload: bytes) -> bytes:
    """The error in `{"jobId": ..., "val": ...}`; nothing if it is no text."""
    try:
        value = json.loads(payload)["val"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return b""
    return value.encode("utf-8", "replace") if isinstance(value, str) else b""


def _job_id(payload: bytes) -> bytes | None:
    """The id in `{"jobId": ..., "val": ...}`, without reading what the job returned."""
    match = _JOB_ID.match(payload)
    if match is None:
        return None
    try:
        return str(json.loads(match[1])).encode("utf-8", "surrogateescape")
    except ValueError:
        return None
