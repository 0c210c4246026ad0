"""The host, as psutil reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

from exporter.assessment import Assessment
from exporter.metrics.family import Family, MetricKind, Sample
from exporter.snapshot.host import Disk, Filesystem, HostState, Network
from service.outcome import value_or_none

_T = TypeVar("_T")

_LIMITED: Final = " In a container the limit of the cgroup, if it is lower."


def _host_reader(value: Callable[[HostState], float | None]) -> Callable[[Assessment], Iterable[Sample]]:
    def read(assessment: Assessment) -> Iterable[Sample]:
        host = value_or_none(assessment.snapshot.host)
        number = value(host) if host else None
        return [] if number is None else [((), number)]

    return read


def _table_reader(
    table: Callable[[HostState], Mapping[str, _T]], value: Callable[[_T], float | None]
) -> Callable[[Assessment], Iterable[Sample]]:
    def read(assessment: Assessment) -> Iterable[Sample]:
        host = value_or_none(assessment.snapshot.host)
        pairs = ((name, value(row)) for name, row in (table(host) if host else {}).items())
        return [((name,), number) for name, number in pairs if number is not None]

    return read


def _identity(assessment: Assessment) -> Iterable[Sample]:
    host = value_or_none(assessment.snapshot.host)
    return [] if host is None or host.boot_id is None else [((host.boot_id,), 1.0)]


def _gauge(name: str, text: str, value: Callable[[HostState], float | None]) -> Family:
    return Family(f"host_{name}", "gauge", text, (), _host_reader(value))


def _disk(name: str, text: str, value: Callable[[Disk], float | None]) -> Family:
    return Family(
        f"host_disk_{name}", "counter", text, ("device",), _table_reader(lambda host: host.disks, value)
    )


def _filesystem(name: str, text: str, value: Callable[[Filesystem], float]) -> Family:
    return Family(
        f"host_filesystem_{name}",
        "gauge",
        text,
        ("mountpoint",),
        _table_reader(lambda host: host.filesystems, value),
    )


def _network(name: str, text: str, value: Callable[[Network], float]) -> Family:
    return Family(
        f"host_network_{name}", "counter", text, ("device",), _table_reader(lambda host: host.networks, value)
    )


_COUNTER: Final[MetricKind] = "counter"

FAMILIES: Final[tuple[Family, ...]] = (
    Family(
        "host_cpu_seconds_total",
        _COUNTER,
        "Seconds that all CPUs of the host spent in each mode since boot (psutil).",
        ("mode",),
        _table_reader(lambda host: host.cpu_seconds, lambda seconds: seconds),
    ),
    _gauge(
        "cpu_count",
        "Cores that can be used; may be a fraction (psutil)."
        + _LIMITED
        + " The load average is always that of the whole machine.",
        lambda host: host.cpu_count,
    ),
    _gauge(
        "machine_cpu_count",
        "Cores of the whole machine, to compare with the load average, also in a container (psutil).",
        lambda host: host.machine_cores,
    ),
    _gauge("load1", "Load average of the host over 1 minute (getloadavg).", lambda host: host.load[0]),
    _gauge("load5", "Load average of the host over 5 minutes (getloadavg).", lambda host: host.load[1]),
    _gauge("load15", "Load average of the host over 15 minutes (getloadavg).", lambda host: host.load[2]),
    _gauge("memory_total_bytes", "Memory in bytes (psutil)." + _LIMITED, lambda host: host.memory_total),
    _gauge(
        "memory_available_bytes",
        "Memory in bytes that is available without swapping (psutil)." + _LIMITED,
        lambda host: host.memory_available,
    ),
    _gauge(
        "memory_used_bytes",
        "Memory in bytes that is in use, without caches that can be dropped (psutil)." + _LIMITED,
        lambda host: host.memory_used,
    ),
    _gauge(
        "memory_swap_used_bytes", "Swap of the host in use, in bytes (psutil).", lambda host: host.swap_used
    ),
    _filesystem(
        "size_bytes", "Size of the file system in bytes (psutil).", lambda filesystem: filesystem.size
    ),
    _filesystem(
        "avail_bytes",
        "Bytes of the file system that an unprivileged user can use (psutil).",
        lambda filesystem: filesystem.available,
    ),
    _disk("read_bytes_total", "Bytes read from the disk since boot (psutil).", lambda disk: disk.read),
    _disk("written_bytes_total", "Bytes written to the disk since boot (psutil).", lambda disk: disk.written),
    _disk(
        "io_time_seconds_total",
        "Seconds that the disk was busy since boot (psutil).",
        lambda disk: disk.io_time,
    ),
    _network(
        "receive_bytes_total",
        "Bytes received by the interface since boot (psutil).",
        lambda network: network.received,
    ),
    _network(
        "transmit_bytes_total",
        "Bytes sent by the interface since boot (psutil).",
        lambda network: network.transmitted,
    ),
    _network(
        "receive_errors_total",
        "Receive errors of the interface since boot (psutil).",
        lambda network: network.receive_errors,
    ),
    _network(
        "transmit_errors_total",
        "Transmit errors of the interface since boot (psutil).",
        lambda network: network.transmit_errors,
    ),
    Family(
        "host_info",
        "gauge",
        "Always 1, with the kernel's boot id: exporters with the same one run on the same machine, in any "
        "containers. Absent where the kernel has none.",
        ("boot_id",),
        _identity,
    ),
    _gauge("boot_time_seconds", "Unix time at which the host booted (psutil).", lambda host: host.boot_time),
)
