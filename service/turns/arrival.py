"""When a request arrived, and whether somebody still waits for its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final

from starlette.requests import ClientDisconnect

from service.clock import Deadline, monotonic

_KEY: Final = "oxherd.arrival"
_SECONDS: Final = 10.0  # that a request may take which names no time-out


class Arrival:
    """Of one request. The server calls `leave` when the client is gone."""

    def __init__(
        self, cancel: Callable[[], object] | None = None, refuse: Callable[[Any], None] | None = None
    ) -> None:
        """`cancel` ends the task that answers; `refuse` counts a refusal by its reason."""
        self.at: Final = monotonic()
        self._cancel = cancel
        self._refuse = refuse
        self._waits = False
        self._left = False

    @property
    def deadline(self) -> Deadline:
        """Of a request that names none."""
        return Deadline(self.at + _SECONDS)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What only waits within it ends at once when the client is gone; work is never cut off.

        Raises ClientDisconnect if it is gone already.
        """
        if self._left:
            raise ClientDisconnect
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    def leave(self) -> None:
        """The client is gone."""
        self._left = True
        if self._waits and self._cancel:
            self._cancel()

    def refuse(self, reason: str) -> None:
        """Count that it was refused, where a server of ours counts."""
        if self._refuse:
            self._refuse(reason)

    def put_into(self, scope: MutableMapping[str, Any]) -> None:
        """For those who answer."""
        scope[_KEY] = self


def arrival_of(scope: MutableMapping[str, Any]) -> Arrival:
    """That of the request; of now where no server of ours put it there."""
    if _KEY not in scope:
        Arrival().put_into(scope)
    arrival: Arrival = scope[_KEY]
    return arrival
