"""Rates of the host between two readings of its totals. Pure: the time is an argument."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from exporter.snapshot.host import Disk, DiskRates, HostRates, HostState, Network, NetworkRates

RATE_SECONDS: Final = 60.0
"""Seconds that rates cover, once readings are that old."""
_STEP: Final = 5.0  # seconds between two readings that are kept
_MIN_SECONDS: Final = 1.0  # the shortest time that a rate may cover, as in top


class RateWindow:
    """The readings of the last minute, and the last one before it: at most 14, however often it is read."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, HostState]] = deque()

    def rates(self, at: float, host: HostState) -> HostRates | None:
        """The rates up to this reading at `at` (monotonic seconds), which is remembered; None for the first.
        A host that has booted since is another one."""
        if self._readings and host.boot_time - self._readings[0][1].boot_time > _STEP:
            self._readings.clear()
        while len(self._readings) > 1 and self._readings[1][0] <= at - RATE_SECONDS:
            self._readings.popleft()
        rates = None
        if self._readings and at - self._readings[0][0] >= _MIN_SECONDS:
            began, before = self._readings[0]
            rates = host_rates(before, host, at - began)
        if not self._readings or at - self._readings[-1][0] >= _STEP:
            self._readings.append((at, host))
        return rates


def host_rates(before: HostState, now: HostState, seconds: float) -> HostRates:
    """Shares of CPU time by mode, and bytes per second by device and interface. A device whose totals fell
    (it was replaced) has none."""
    return HostRates(
        seconds=seconds,
        cpu=_shares(before.cpu_seconds, now.cpu_seconds),
        disks={
            name: rates
            for name, disk in now.disks.items()
            if name in before.disks and (rates := _disk(before.disks[name], disk, seconds))
        },
        networks={
            name: flow
            for name, network in now.networks.items()
            if name in before.networks and (flow := _network(before.networks[name], network, seconds))
        },
    )


def _shares(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """A mode may run backwards by a tick (iowait on Linux): that is no time."""
    spent = {mode: max(0.0, seconds - before[mode]) for mode, seconds in now.items() if mode in before}
    total = sum(spent.values())
    return {mode: seconds / total for mode, seconds in spent.items()} if total > 0 else {}


def _disk(before: Disk, now: Disk, seconds: float) -> DiskRates | None:
    read, written = now.read - before.read, now.written - before.written
    if read < 0 or written < 0:
        return None
    busy = None
    if before.io_time is not None and now.io_time is not None:
        busy = min(1.0, max(0.0, (now.io_time - before.io_time) / seconds))
    return DiskRates(read / seconds, written / seconds, busy)


def _network(before: Network, now: Network, seconds: float) -> NetworkRates | None:
    received, transmitted = now.received - before.received, now.transmitted - before.transmitted
    errors = (now.receive_errors + now.transmit_errors) - (before.receive_errors + before.transmit_errors)
    if received < 0 or transmitted < 0 or errors < 0:
        return None
    return NetworkRates(received / seconds, transmitted / seconds, errors / seconds)
