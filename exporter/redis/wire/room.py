"""Memory for the replies that are being read, of all connections of the process together.

Without it the bound of one reply is multiplied by the number of nodes. A reply that finds no room waits for
that of another one, as its bytes may wait in the socket: nodes that catch up after a pause all get theirs,
some a little later. One that would wait for replies that wait themselves is refused: the others go on.
"""

from __future__ import annotations

import threading
from typing import Final

from service.clock import Deadline

MOST: Final = 64 << 20
"""Bytes for all replies together, above `FREE` of each."""
FREE: Final = 256 << 10
"""Bytes that each reply may take without asking: a small one always has room."""


class NoRoomError(Exception):
    """The replies of other connections take all that there is."""


class ReplyRoom:
    """Shared by the readers of all connections, each in a thread of its own."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._taken = 0
        self._most_taken = 0  # since it was empty
        self._holders = 0
        self._waiting: set[object] = set()  # of those that hold some: all that saw the room as it is now
        self._changed = threading.Condition()

    @property
    def taken(self) -> int:
        return self._taken

    def take(self, octets: int, held: int, deadline: Deadline) -> None:
        """So many bytes more for a reply that holds `held`. Who holds all that is taken always gets more: its
        reply has bounds of its own. Raises NoRoomError, TimeoutError."""
        with self._changed:
            while self._taken + octets > self._most and self._taken > held:
                self._wait(held, deadline)
            self._taken += octets
            self._most_taken = max(self._most_taken, self._taken)
            self._holders += not held

    def give_back(self, octets: int) -> None:
        """All that a reply holds; it may hold nothing."""
        if not octets:
            return
        with self._changed:
            self._taken -= octets
            self._holders -= 1
            self._waiting.clear()  # they look again, some later than who comes meanwhile
            self._changed.notify_all()

    def was_emptied(self) -> bool:
        """Once after much of it was taken, when nothing of it is any more: what was read left holes."""
        with self._changed:
            emptied = self._most_taken > self._most // 8 and not self._taken
            if emptied:
                self._most_taken = 0
            return emptied

    def _wait(self, held: int, deadline: Deadline) -> None:
        others = self._holders - bool(held)
        if len(self._waiting) == others:  # nobody is left who would give any back
            raise NoRoomError(f"{self._taken >> 20} MiB are taken by replies that are being read")
        if deadline.passed():
            raise TimeoutError
        me = object()
        if held:
            self._waiting.add(me)
        try:
            self._changed.wait(deadline.remaining())
        finally:
            self._waiting.discard(me)


OF_THE_PROCESS: Final = ReplyRoom()
