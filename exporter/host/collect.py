"""The machine that the exporter runs on, by psutil, and within the limits of its container."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import psutil

from exporter.host.cgroup import FILES, Limits, group_paths, limits, tightest
from exporter.snapshot import Disk, Filesystem, HostState, Network, ProcessState
from service.clock import Deadline
from service.outcome import UnreadableError

T = TypeVar("T")

_ROOT: Final = Path("/sys/fs/cgroup")
_REMOTE: Final = ("nfs", "cifs", "smb", "fuse", "9p", "ceph", "gluster", "afs", "lustre")
"""File systems whose server may be gone: asking for their size would hang in the kernel."""
_PSEUDO: Final = frozenset({"squashfs", "iso9660", "tmpfs", "devtmpfs", "ramfs"})


def collect_host(deadline: Deadline) -> HostState:
    """Raises UnreadableError when CPU, load or memory cannot be read; the rest is left out."""
    del deadline  # nothing here waits for anybody
    try:
        times = psutil.cpu_times()
        memory = psutil.virtual_memory()
        load = os.getloadavg()
        boot_time = psutil.boot_time()
    except (OSError, psutil.Error, RuntimeError) as error:
        raise UnreadableError("error", f"psutil: {type(error).__name__}") from None
    machine_cores = psutil.cpu_count() or 1
    cores = float(len(os.sched_getaffinity(0)) if sys.platform == "linux" else machine_cores)
    allowed = container_limits()
    total, used, available = memory.total, memory.used, memory.available
    # A limit without its use says nothing of what is left; the host's use against it would be a false alarm.
    tight_memory = allowed.memory is not None and allowed.memory_used is not None and allowed.memory < total
    if allowed.memory is not None and allowed.memory_used is not None and tight_memory:
        total, used = allowed.memory, allowed.memory_used
        available = min(available, max(0, total - used))
    tight_cpu = allowed.cpus is not None and allowed.cpus < cores
    swap = _or_none(psutil.swap_memory)
    return HostState(
        cpu_seconds={
            mode: float(seconds) for mode, seconds in times._asdict().items() if mode not in _COUNTED
        },
        cpu_count=allowed.cpus if tight_cpu and allowed.cpus is not None else cores,
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
    )


_COUNTED: Final = frozenset({"guest", "guest_nice"})
"""Modes that the kernel counts in user and nice already."""


def collect_process(deadline: Deadline) -> ProcessState:
    """Raises UnreadableError."""
    del deadline
    try:
        resident = psutil.Process().memory_info().rss
        total = psutil.virtual_memory().total
    except (OSError, psutil.Error, RuntimeError) as error:
        raise UnreadableError("error", f"psutil: {type(error).__name__}") from None
    allowed = container_limits().memory
    return ProcessState(resident, allowed if allowed is not None and allowed < total else None)


def container_limits(root: Path = _ROOT, proc: Path = Path("/proc/self/cgroup")) -> Limits:
    """The tightest limits of the groups that this process is in; none where there are no cgroups."""
    try:
        paths = group_paths(proc.read_text())
    except OSError:
        return Limits()
    if "" in paths and (root / "cgroup.controllers").exists():
        return tightest([_group(directory) for directory in _nested(root, paths[""])])
    memory = [_group(one) for one in _nested(root / "memory", paths.get("memory", "/"))]
    cpu = [_group(one) for one in _nested(root / "cpu", paths.get("cpu", "/"))]
    return tightest(memory + cpu)


def _nested(root: Path, path: str) -> list[Path]:
    """The group's directory and those above it. In a cgroup namespace only the root is seen."""
    group = root / path.lstrip("/")
    inside = [group, *group.parents]
    return [one for one in inside if one.is_relative_to(root) and one.is_dir()]


def _group(directory: Path) -> Limits:
    files = {}
    for name in FILES:
        text = _or_none((directory / name).read_text)
        if text is not None:
            files[name] = text
    return limits(files)


def _filesystems() -> dict[str, Filesystem]:
    """Mounted devices by mount point, and "/" whatever it is: a container's overlay has no device.

    Of several mounts of one device the first; a bound file (a container's /etc/hosts) is no file system.
    """
    found: dict[str, Filesystem] = {}
    seen: set[str] = set()
    root = [part for part in psutil.disk_partitions(all=True) if part.mountpoint == "/"][-1:]
    rest = [part for part in psutil.disk_partitions(all=False) if part.fstype not in _PSEUDO]
    for part in root + rest:
        if part.device in seen or part.fstype.startswith(_REMOTE):
            continue
        if not _or_none(Path(part.mountpoint).is_dir):
            continue
        usage = _or_none(partial(psutil.disk_usage, part.mountpoint))
        if usage is not None:
            seen.add(part.device)
            found[part.mountpoint] = Filesystem(usage.total, usage.free)
    return found


def _disks() -> dict[str, Disk]:
    """Whole devices: a partition's bytes are in its disk's already."""
    whole = {path.name for path in Path("/sys/block").iterdir()} if Path("/sys/block").is_dir() else None
    found = {}
    for name, one in psutil.disk_io_counters(perdisk=True).items():
        if name.startswith(("loop", "ram", "zram")) or (whole is not None and name not in whole):
            continue
        busy = getattr(one, "busy_time", None)
        found[name] = Disk(one.read_bytes, one.write_bytes, None if busy is None else busy / 1000)
    return found


def _networks() -> dict[str, Network]:
    """Interfaces but the loopback; the hosts' ends of containers' links (veth) come and go with them."""
    return {
        name: Network(one.bytes_recv, one.bytes_sent, one.errin, one.errout)
        for name, one in psutil.net_io_counters(pernic=True).items()
        if name != "lo" and not name.startswith("veth")
    }


def _or_none(read: Callable[[], T]) -> T | None:
    """What a platform or a sandbox may refuse; its series are absent then."""
    try:
        return read()
    except (OSError, psutil.Error, NotImplementedError, RuntimeError):
        return None
