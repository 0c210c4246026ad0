"""Which connections there are, what each does, and which has to go: for a new one, or as it takes too long.

Pure: the time is an argument. What a connection wants is only known once its request is there, so none can
be refused for what it wants. Instead a new one is always let in, and takes the place of one of the largest
group: of those of one network that do the same, the one that has got on the least. A scrape is sent, worked
on and read within moments, so it is not among the many connections of an attacker which stay where they are,
even where both have the same address. A group that waits for its clients counts twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from service.net.networks import network_of

Occupation: TypeAlias = Literal["silent", "reading", "working", "writing", "idle"]
"""Nothing came of it yet; its request is not whole; it is worked on; its answer is not taken; between two."""

_OURS: Final[frozenset[Occupation]] = frozenset({"silent", "working"})  # a good client is not at fault

HttpRefusal: TypeAlias = Literal[
    "full", "slow_request", "slow_reader", "unsent", "invalid", "late", "password", "throttled"
]

HTTP_REFUSALS: Final[Mapping[HttpRefusal, str]] = {
    "full": "another connection took its place",
    "slow_request": "its request was not whole after 10 s",
    "slow_reader": "it had not taken its answer after 30 s",
    "unsent": "answers that were not taken had too many bytes",
    "invalid": "it was not HTTP, or ambiguous",
    "late": "its own time-out was over before its turn came",
    "password": "a wrong user or password of the web configuration file",
    "throttled": "too many wrong passwords",
}
"""Why a connection was closed or a request was refused."""

REQUEST_SECONDS: Final = 10.0
"""From the first byte of a request to its last, and for a TLS handshake."""
_ANSWER_SECONDS: Final = 30.0  # from the first byte of an answer until the client has taken all of it

C = TypeVar("C", bound=Hashable)


class _Place(NamedTuple):
    network: str
    occupation: Occupation
    since: float


class Traffic(Generic[C]):
    """At most `most` connections. On one thread; `refused` may be read by any."""

    def __init__(self, most: int) -> None:
        self.most: Final = most
        self._places: dict[C, _Place] = {}
        # Each group in the order in which its members last got on.
        self._groups: dict[tuple[str, Occupation], dict[C, None]] = {}
        self._refused: Counter[HttpRefusal] = Counter()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, connection: C) -> bool:
        return connection in self._places

    @property
    def refused(self) -> Mapping[HttpRefusal, int]:
        """The number of refusals by reason."""
        return {reason: self._refused[reason] for reason in HTTP_REFUSALS}

    def refuse(self, reason: HttpRefusal) -> None:
        """Count one."""
        self._refused[reason] += 1

    def enter(self, connection: C, host: str, now: float) -> None:
        """A new one, whose request is awaited."""
        self._put(connection, _Place(network_of(host), "silent", now))

    def move(self, connection: C, occupation: Occupation, now: float) -> None:
        """What it does now. One that has left stays away."""
        place = self._places.get(connection)
        if place is not None and place.occupation != occupation:
            self.leave(connection)
            self._put(connection, _Place(place.network, occupation, now))

    def get_on(self, connection: C) -> None:
        """It does the same as before, and got on with it."""
        place = self._places.get(connection)
        if place is not None:
            group = self._groups[place.network, place.occupation]
            group[connection] = group.pop(connection)

    def leave(self, connection: C) -> None:
        """It is closed."""
        place = self._places.pop(connection, None)
        if place is not None:
            key = (place.network, place.occupation)
            del self._groups[key][connection]
            if not self._groups[key]:
                del self._groups[key]

    def surplus(self) -> C | None:
        """The one that has to go as there are too many; None: there are not."""
        return self.slowest() if len(self._places) > self.most else None

    def slowest(self) -> C | None:
        """Of the largest group the one that has got on the least."""
        largest = max(self._groups, key=self._weight, default=None)
        return next(iter(self._groups[largest])) if largest else None

    def overdue(self, now: float) -> Iterable[tuple[C, HttpRefusal]]:
        """Those that take too long, and why."""
        return [
            (connection, reason)
            for connection, place in self._places.items()
            for reason in _reasons(place, now)
        ]

    def _weight(self, key: tuple[str, Occupation]) -> int:
        return len(self._groups[key]) * (1 if key[1] in _OURS else 2)

    def _put(self, connection: C, place: _Place) -> None:
        self._places[connection] = place
        self._groups.setdefault((place.network, place.occupation), {})[connection] = None


def _reasons(place: _Place, now: float) -> Iterator[HttpRefusal]:
    took = now - place.since
    if place.occupation in ("silent", "reading") and took > REQUEST_SECONDS:
        yield "slow_request"
    if place.occupation == "writing" and took > _ANSWER_SECONDS:
        yield "slow_reader"
