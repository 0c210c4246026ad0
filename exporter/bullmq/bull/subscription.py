"""One connection that is subscribed to what Bull publishes: what was asked for, and what has arrived."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from exporter.bullmq.bull.channels import (
    ChannelMessage,
    Confirmed,
    MessageParser,
    NotPushedError,
    Pong,
    Received,
    Refused,
    TooLargeError,
    subscribe_ends,
    subscribe_patterns,
    unsubscribe_ends,
)
from exporter.redis.connect import Connection
from exporter.redis.protocol import pack, whole_of
from exporter.snapshot.queues import QueueId
from service.clock import Deadline, monotonic
from service.outcome import UnreadableError

_WRITE_SECONDS: Final = 1.0
_SILENT_SECONDS: Final = 5.0  # without any answer to PING, the connection is lost


@dataclass
class _Command:
    """A subscription to the channels of a queue, or of a prefix; `confirmations` are still to come."""

    what: QueueId | str
    confirmations: int


class Subscription:
    """Sends subscriptions, and sorts what arrives. Each method raises UnreadableError if the connection is
    lost; then it must be closed."""

    def __init__(self, connection: Connection, address: str) -> None:
        self.address: Final = address
        self.confirmed: set[QueueId] = set()
        self.prefixes: set[str] = set()
        self.refused: dict[QueueId | str, str] = {}  # a queue, or a prefix, and why
        self.answered_at = monotonic()
        self._connection = connection
        self._parser = MessageParser()
        self._asked: deque[_Command] = deque()  # those without an answer, the oldest first
        self._asked_for: set[QueueId | str] = set()
        self._pings = 0
        self._pongs = 0
        self._too_large: TooLargeError | None = None

    def close(self) -> None:
        self._connection.close()

    def ask(self, queues: Iterable[QueueId]) -> None:
        """Subscribe to the channels of these queues, if that was not asked before."""
        parts = []
        for queue in queues:
            if queue.prefix not in self._asked_for:
                parts.append(self._ask(queue.prefix, subscribe_patterns([queue.prefix])))
            if queue not in self._asked_for:
                parts.append(self._ask(queue, subscribe_ends(queue)))
        if parts:
            self._send(b"".join(parts))

    def drop(self, queues: Iterable[QueueId]) -> None:
        """Receive no more messages of the jobs of these queues that end."""
        dropped = [queue for queue in queues if queue in self._asked_for]
        self.confirmed.difference_update(dropped)
        self._asked_for.difference_update(dropped)
        if dropped:
            self._send(b"".join(map(unsubscribe_ends, dropped)))

    def retry(self) -> None:
        """Forget what was refused, so that it is asked again."""
        self._asked_for -= self.refused.keys()
        self.refused.clear()

    def ping(self) -> int:
        """Ask for a sign of life; once `answered` has the number that is returned, all that was published
        before has arrived."""
        if monotonic() - self.answered_at > _SILENT_SECONDS:
            raise UnreadableError("timeout", f"no answer for {_SILENT_SECONDS:g} s")
        self._pings += 1
        self._send(pack("PING", self._pings))
        return self._pings

    @property
    def answered(self) -> int:
        """The number of the last `ping` that was answered."""
        return self._pongs

    def follows(self, queue: QueueId) -> bool:
        """Whether all messages of the queue arrive."""
        return queue in self.confirmed and queue.prefix in self.prefixes

    def receive(self, deadline: Deadline) -> list[ChannelMessage]:
        """What has arrived, waiting until the deadline if nothing has.

        Raises TooLargeError after all messages before the one that is too large were returned.
        """
        if self._too_large is not None:
            raise self._too_large
        messages: list[ChannelMessage] = []
        try:
            for received in self._parser.feed(self._connection.receive(deadline)):
                self._sort(received, messages)
        except TooLargeError as error:
            self._too_large = error
        except NotPushedError:
            raise UnreadableError("protocol", "the messages are not Redis protocol") from None
        return messages

    def _sort(self, received: Received, messages: list[ChannelMessage]) -> None:
        match received:
            case ChannelMessage():
                messages.append(received)
            case Confirmed():
                self._confirm()
            case Refused(text):
                self._refuse(text)
            case Pong(text):
                number = whole_of(text)
                self._pongs = self._pongs if number is None else number
                self.answered_at = monotonic()

    def _ask(self, what: QueueId | str, command: tuple[bytes, int]) -> bytes:
        packed, confirmations = command
        self._asked_for.add(what)
        self._asked.append(_Command(what, confirmations))
        return packed

    def _confirm(self) -> None:
        if not self._asked:
            return
        command = self._asked[0]
        command.confirmations -= 1
        if command.confirmations:
            return
        self._asked.popleft()
        what = command.what
        if isinstance(what, QueueId):
            self.confirmed |= {what} & self._asked_for  # unless it was dropped since
        else:
            self.prefixes.add(what)

    def _refuse(self, text: str) -> None:
        if self._asked:
            self.refused[self._asked.popleft().what] = text

    def _send(self, packed: bytes) -> None:
        self._connection.send(packed, Deadline.after(_WRITE_SECONDS))
