"""The servers' clocks. Times in queues are compared with the clock of the node that holds them: ours may be
minutes off. Without I/O and without a clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from exporter.redis.info import whole_number
from exporter.redis.protocol import Reply, whole_of
from exporter.snapshot.redis import Info

_SLOW: Final = 0.25  # seconds: after a slower exchange a reading is off by up to half of it


def server_time(info: Info) -> float | None:
    """The server's clock when it wrote INFO, in unix seconds; None for a server whose INFO has no clock."""
    microseconds = whole_number(info, "server_time_usec")
    return None if microseconds is None else microseconds / 1e6


def parse_time(reply: Reply) -> float | None:
    """The reply to TIME, seconds and microseconds, in unix seconds; None for anything else."""
    if not isinstance(reply, list) or len(reply) != 2:
        return None
    seconds, microseconds = map(whole_of, reply)
    return None if seconds is None or microseconds is None else seconds + microseconds / 1e6


class Clocks:
    """What each node's clock shows, as unix seconds for a moment on a clock of ours that is never set.

    Arguments `sent`, `received` and `at` are seconds on that clock.
    """

    def __init__(self) -> None:
        self._bases: dict[str, float] = {}

    def learn(self, address: str, time: float, sent: float, received: float) -> None:
        """Its clock showed `time` between the two moments; a slow exchange does not replace a reading."""
        if received - sent <= _SLOW or address not in self._bases:
            self._bases[address] = time - (sent + received) / 2

    def at(self, address: str, at: float) -> float | None:
        """What the node's clock shows at that moment; None for a node whose clock was never read."""
        base = self._bases.get(address)
        return None if base is None else base + at

    def forget_others(self, addresses: Iterable[str]) -> None:
        """Keep only these nodes."""
        kept = set(addresses)
        self._bases = {address: base for address, base in self._bases.items() if address in kept}
