"""How much memory the replies that are being read may take together, on however many connections.

A limit of one connection is none of the process: there are five for each master of a cluster. So what is
large is taken from one room; where that is full, the largest reply has to go: the others did nothing wrong.
"""

from __future__ import annotations

from threading import Lock
from typing import Final

MOST: Final = 128 << 20
"""Bytes, by `ReplyReader`'s estimate. What is asked of a stream at once takes 16 MB of it."""


class ReplyRoom:
    """For all threads."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._held: dict[int, int] = {}
        self._refused: set[int] = set()
        self._most_taken = 0
        self._lock = Lock()

    @property
    def taken(self) -> int:
        """Bytes."""
        with self._lock:
            return sum(self._held.values())

    def hold(self, reader: int, size: int) -> bool:
        """Let a reader have so many bytes in all; False: it is the largest of too many, and has none."""
        with self._lock:
            if reader in self._refused:
                return False
            self._held[reader] = size
            self._most_taken = max(self._most_taken, sum(self._held.values()))
            while sum(self._held.values()) > self._most:
                largest = max(self._held, key=self._held.__getitem__)
                del self._held[largest]
                self._refused.add(largest)
            return reader not in self._refused

    def was_emptied(self) -> bool:
        """Once after much of it was taken, when nothing of it is any more: what was read left holes."""
        with self._lock:
            emptied = self._most_taken > self._most // 8 and not self._held
            if emptied:
                self._most_taken = 0
            return emptied

    def give_back(self, reader: int) -> None:
        """It holds nothing any more."""
        with self._lock:
            self._held.pop(reader, None)
            self._refused.discard(reader)


SHARED: Final = ReplyRoom()
"""That of this process."""
