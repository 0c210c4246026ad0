"""The machine on which the exporter runs, read by psutil, within the limits of its container."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import psutil

from exporter.host.cgroup import FILES, Limits, group_paths, limits, tightest
from exporter.host.rates import RateWindow
from exporter.snapshot.host import Disk, Filesystem, HostState, Network, ProcessState
from service.clock import Deadline, monotonic
from service.outcome import UnreadableError

_T = TypeVar("_T")

_ROOT: Final = Path("/sys/fs/cgroup")
_REMOTE: Final = ("nfs", "cifs", "smb", "fuse", "9p", "ceph", "gluster", "afs", "lustre")
"""File systems whose server may not answer: a call for their size would hang in the kernel."""
_PSEUDO: Final = frozenset({"squashfs", "iso9660", "tmpfs", "devtmpfs", "ramfs"})


def collect_host(deadline: Deadline) -> HostState:
    """Raises UnreadableError if CPU, load or memory cannot be read; other parts are then absent."""
    del deadline  # nothing here waits
    try:
        times = psutil.cpu_times()
        memory = psutil.virtual_memory()
        load = os.getloadavg()
        boot_time = psutil.boot_time()
    except (OSError, psutil.Error, RuntimeError) as error:
        raise UnreadableError("error", f"psutil: {type(error).__name__}") from None
    machine_cores = psutil.cpu_count() or 1
    cores = float(len(os.sched_getaffinity(0)) if sys.platform == "linux" else machine_cores)
    container = container_limits()
    total, used, available = memory.total, memory.used, memory.available
    # A limit without the usage does not give the rest; with the host's usage it would be a false alarm.
    limit, limit_used = container.memory, container.memory_used
    tight_memory = limit is not None and limit_used is not None and limit < total
    if limit is not None and limit_used is not None and tight_memory:
        total, used = limit, limit_used
        available = min(available, max(0, total - used))
    tight_cpu = container.cpus is not None and container.cpus < cores
    swap = _or_none(psutil.swap_memory)
    return HostState(
        cpu_seconds={
            mode: float(seconds)
            for mode, seconds in times._asdict().items()
            if mode not in _COUNTED_ELSEWHERE
        },
        cpu_count=container.cpus if tight_cpu and container.cpus is not None else cores,
        machine_cores=machine_cores,
        load=load,
        memory_total=total,
        memory_available=available,
        memory_used=used,
        swap_used=None if swap is None else swap.used,
        boot_time=boot_time,
        filesystems=_or_none(_filesystems) or {},
        disks=_or_none(_disks) or {},
        networks=_or_none(_networks) or {},
        memory_limited=tight_memory,
        boot_id=_boot_id(),
    )


class HostSource:
    """Reads the host, and keeps the last readings for its rates. For any number of threads."""

    def __init__(self) -> None:
        self._window = RateWindow()
        self._lock = threading.Lock()

    def collect(self, deadline: Deadline) -> HostState:
        """The host with its rates since up to a minute ago. Raises UnreadableError."""
        host, at = collect_host(deadline), monotonic()
        with self._lock:
            return replace(host, rates=self._window.rates(at, host))


_COUNTED_ELSEWHERE: Final = frozenset({"guest", "guest_nice"})
"""Modes that the kernel already counts in user and nice."""


def collect_process(deadline: Deadline) -> ProcessState:
    """Raises UnreadableError."""
    del deadline
    try:
        resident = psutil.Process().memory_info().rss
        total = psutil.virtual_memory().total
    except (OSError, psutil.Error, RuntimeError) as error:
        raise UnreadableError("error", f"psutil: {type(error).__name__}") from None
    limit = container_limits().memory
    return ProcessState(resident, limit if limit is not None and limit < total else None)


def container_limits(root: Path = _ROOT, proc: Path = Path("/proc/self/cgroup")) -> Limits:
    """The tightest limits of the groups of this process; no limits without cgroups."""
    try:
        paths = group_paths(proc.read_text())
    except OSError:
        return Limits()
    if "" in paths and (root / "cgroup.controllers").exists():
        return tightest([_group(directory) for directory in _nested(root, paths[""])])
    memory = [_group(directory) for directory in _nested(root / "memory", paths.get("memory", "/"))]
    cpu = [_group(directory) for directory in _nested(root / "cpu", paths.get("cpu", "/"))]
    return tightest(memory + cpu)


def _boot_id(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str | None:
    text = _or_none(path.read_text)
    return text.strip() or None if text is not None else None


def _nested(root: Path, path: str) -> list[Path]:
    """The group's directory and its parents. In a cgroup namespace only the root is visible."""
    group = root / path.lstrip("/")
    inside = [group, *group.parents]
    return [directory for directory in inside if directory.is_relative_to(root) and directory.is_dir()]


def _group(directory: Path) -> Limits:
    files = {}
    for name in FILES:
        text = _or_none((directory / name).read_text)
        if text is not None:
            files[name] = text
    return limits(files)


def _filesystems() -> dict[str, Filesystem]:
    """Mounted devices by mount point, and "/" in any case: a container's overlay has no device.

    Of several mounts of one device only the first; a bound file (a container's /etc/hosts) does not count.
    """
    filesystems: dict[str, Filesystem] = {}
    devices: set[str] = set()
    root = [part for part in psutil.disk_partitions(all=True) if part.mountpoint == "/"][-1:]
    rest = [part for part in psutil.disk_partitions(all=False) if part.fstype not in _PSEUDO]
    for part in root + rest:
        if part.device in devices or part.fstype.startswith(_REMOTE):
            continue
        if not _or_none(Path(part.mountpoint).is_dir):
            continue
        usage = _or_none(partial(psutil.disk_usage, part.mountpoint))
        if usage is not None:
            devices.add(part.device)
            filesystems[part.mountpoint] = Filesystem(usage.total, usage.free)
    return filesystems


def _disks() -> dict[str, Disk]:
    """Whole devices: the bytes of a partition are already in those of its disk."""
    whole = {path.name for path in Path("/sys/block").iterdir()} if Path("/sys/block").is_dir() else None
    disks = {}
    for name, counters in psutil.disk_io_counters(perdisk=True).items():
        if name.startswith(("loop", "ram", "zram")) or (whole is not None and name not in whole):
            continue
        busy = getattr(counters, "busy_time", None)
        disks[name] = Disk(counters.read_bytes, counters.write_bytes, None if busy is None else busy / 1000)
    return disks


def _networks() -> dict[str, Network]:
    """Interfaces except loopback and veth (the host side of a container's link, which comes and goes)."""
    return {
        name: Network(counters.bytes_recv, counters.bytes_sent, counters.errin, counters.errout)
        for name, counters in psutil.net_io_counters(pernic=True).items()
        if name != "lo" and not name.startswith("veth")
    }


def _or_none(read: Callable[[], _T]) -> _T | None:
    """None if the platform or a sandbox refuses the read; its series are then absent."""
    try:
        return read()
    except (OSError, psutil.Error, NotImplementedError, RuntimeError):
        return None
