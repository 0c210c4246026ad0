"""The host as we read it, beside what the kernel itself says."""

from __future__ import annotations

import os
from pathlib import Path

from exporter.derived import cpu_usage
from exporter.host.collect import HostSource, collect_host, collect_process
from service.clock import Deadline, monotonic, now


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


def test_two_readings_of_one_machine_have_the_same_boot_id() -> None:
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert [collect_host(Deadline.after(2)).boot_id for _ in range(2)] == [boot_id, boot_id]


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


def proc_stat() -> tuple[float, float]:
    """All CPU ticks so far, and those that were neither idle nor waiting for a disk."""
    first = Path("/proc/stat").read_text().splitlines()[0].split()
    user, nice, system, idle, iowait, irq, softirq, steal = (float(ticks) for ticks in first[1:9])
    busy = user + nice + system + irq + softirq + steal
    return busy + idle + iowait, busy


def test_the_rates_are_those_of_proc() -> None:
    source, before = HostSource(), proc_stat()
    assert source.collect(Deadline.after(2)).rates is None
    end = monotonic() + 1.5
    while monotonic() < end:  # something to measure
        sum(range(1000))
    state, after = source.collect(Deadline.after(2)), proc_stat()
    assert state.rates is not None
    assert abs(sum(state.rates.cpu.values()) - 1) < 0.001
    share = (after[1] - before[1]) / (after[0] - before[0])
    usage = cpu_usage(state.rates)
    assert usage is not None
    assert usage > 0.1 / state.machine_cores
    assert abs(usage - share) < 0.15
    assert state.rates.networks.keys() == state.networks.keys()
    assert all(rates.received >= 0 for rates in state.rates.networks.values())
