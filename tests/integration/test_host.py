"""The host as we read it, beside what the kernel itself says."""

from __future__ import annotations

import os
from pathlib import Path

from exporter.host.collect import collect_host, collect_process
from service.clock import Deadline, now


def meminfo() -> dict[str, int]:
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {name.rstrip(":"): int(number) * 1024 for name, number, *_ in lines}


def test_the_host_is_what_proc_says() -> None:
    state = collect_host(Deadline.after(2))
    kernel = meminfo()
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    if not state.limited:
        assert state.memory_total == kernel["MemTotal"]
        assert abs(state.memory_available - kernel["MemAvailable"]) < kernel["MemTotal"] / 10
        assert state.cpu_count == len(os.sched_getaffinity(0))
    assert abs(now() - uptime - state.boot_time) < 5
    assert abs(state.load[0] - os.getloadavg()[0]) < 1
    assert {"user", "system", "idle"} <= state.cpu_seconds.keys()


def test_the_root_file_system_and_interfaces_are_there() -> None:
    state = collect_host(Deadline.after(2))
    statistics = os.statvfs("/")
    if "/" in state.filesystems:  # an overlay root has no device of its own
        assert state.filesystems["/"].size == statistics.f_blocks * statistics.f_frsize
    interfaces = {path.name for path in Path("/sys/class/net").iterdir()} - {"lo"}
    assert set(state.networks) <= interfaces


def test_this_process_is_resident() -> None:
    status = Path("/proc/self/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) * 1024
    assert abs(collect_process(Deadline.after(2)).resident - resident) < resident / 4
