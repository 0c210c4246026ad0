"""The machine, or the container, and this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Filesystem:
    size: int
    available: int


@dataclass(frozen=True, slots=True)
class Disk:
    """One block device's totals since boot: bytes, bytes, seconds (None if the kernel does not report it)."""

    read: int
    written: int
    io_time: float | None


@dataclass(frozen=True, slots=True)
class Network:
    """One interface's totals since boot."""

    received: int
    transmitted: int
    receive_errors: int
    transmit_errors: int


class DiskRates(NamedTuple):
    """Bytes per second, and the share of the time that the device was busy (None: not reported)."""

    read: float
    written: float
    busy: float | None


class NetworkRates(NamedTuple):
    """Bytes per second, and errors per second of both directions."""

    received: float
    transmitted: float
    errors: float


@dataclass(frozen=True, slots=True)
class HostRates:
    """Rates over the last `seconds`; `cpu` has the share of each mode in the time of all CPUs, 0 to 1."""

    seconds: float
    cpu: Mapping[str, float]
    disks: Mapping[str, DiskRates]
    networks: Mapping[str, NetworkRates]


@dataclass(frozen=True)
class HostState:
    """The machine, or the container if its cgroup has lower limits; bytes, seconds, cores with fractions.

    `load` is always that of the whole machine with `machine_cores`: a container has no load of its own.
    """

    cpu_seconds: Mapping[str, float]
    cpu_count: float
    machine_cores: int
    load: tuple[float, float, float]
    memory_total: int
    memory_available: int
    memory_used: int
    swap_used: int | None
    boot_time: float
    filesystems: Mapping[str, Filesystem] = field(default_factory=dict)
    disks: Mapping[str, Disk] = field(default_factory=dict)
    networks: Mapping[str, Network] = field(default_factory=dict)
    memory_limited: bool = False
    rates: HostRates | None = None  # None at the first reading
    boot_id: str | None = None  # of the kernel, the same in all containers of a machine; None but on Linux

    @property
    def limited(self) -> bool:
        """Whether this process can use less than the machine has."""
        return self.memory_limited or self.cpu_count < self.machine_cores


class PushState(NamedTuple):
    """The last pushes of series by OTLP: how many in a row failed, why the last one did (one word), and for
    how many seconds they have failed."""

    failures: int = 0
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ProcessState:
    """The exporter's own memory: resident bytes, and its limit (None: no limit). `push` is None where nothing
    is pushed."""

    resident: int
    limit: int | None
    push: PushState | None = None
