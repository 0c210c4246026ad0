"""Wrong passwords and keys by address, of IPv6 by network: after ten in a minute the next ones are refused
unread.

Thread-safe; no I/O besides its clock."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from service.clock import monotonic
from service.net.networks import network_of

_FAILURES: Final = 10  # of one address within the window
_WINDOW_SECONDS: Final = 60.0
_MOST_ADDRESSES: Final = 10_000


class FailedAttempts:
    """Those of the last minute."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def __len__(self) -> int:
        """The number of addresses and networks."""
        return len(self._failures)

    def blocked(self, address: str) -> float | None:
        """Seconds until this address may try again; None if it may now."""
        with self._lock:
            recent = self._recent(network_of(address))
            return recent[0] + _WINDOW_SECONDS - self._clock() if len(recent) >= _FAILURES else None

    def failed(self, address: str) -> None:
        """One more of this address."""
        address = network_of(address)
        with self._lock:
            self._failures[address] = [*self._recent(address), self._clock()][-_FAILURES:]
            self._failures.move_to_end(address)
            while len(self._failures) > _MOST_ADDRESSES:
                self._failures.popitem(last=False)

    def _recent(self, address: str) -> list[float]:
        since = self._clock() - _WINDOW_SECONDS
        return [at for at in self._failures.get(address, ()) if at > since]
