"""Answers that clients have not taken yet: their bytes are bounded, in all. Pure.

Clients that are sent the same bytes hold them once.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

UNSENT_BYTES: Final = 16 << 20
"""Of all answers together; more only where two of the largest take more."""

C = TypeVar("C", bound=Hashable)


class UnsentAnswers(Generic[C]):
    """On one thread."""

    def __init__(self, most: int = UNSENT_BYTES) -> None:
        self._most = most
        self._bodies: dict[C, bytes] = {}  # in the order in which they last got on
        self._holders: dict[int, int] = {}  # by the identity of a body
        self._size = 0

    @property
    def size(self) -> int:
        """What is held now."""
        return self._size

    def hold(self, connection: C, body: bytes) -> list[C]:
        """Until `release`. Returns the connections whose answers are given up for it, the slowest ones."""
        self.release(connection)
        self._bodies[connection] = body
        self._holders[id(body)] = self._holders.get(id(body), 0) + 1
        if self._holders[id(body)] == 1:
            self._size += len(body)
        most = max(self._most, 2 * len(body))
        given_up = []
        for other in list(self._bodies):
            if self._size <= most:
                break
            if self._bodies[other] is not body:  # of the same bytes nothing would be won
                self.release(other)
                given_up.append(other)
        return given_up

    def get_on(self, connection: C) -> None:
        """Its client took a part."""
        body = self._bodies.pop(connection, None)
        if body is not None:
            self._bodies[connection] = body

    def release(self, connection: C) -> None:
        """The client has taken all of it, or is gone."""
        body = self._bodies.pop(connection, None)
        if body is None:
            return
        self._holders[id(body)] -= 1
        if not self._holders[id(body)]:
            del self._holders[id(body)]
            self._size -= len(body)
