"""The edge itself is tried against /proc in tests/integration/test_host.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import psutil
import pytest

from exporter.host import collect as host
from exporter.host.cgroup import Limits
from exporter.snapshot.host import Disk, Network
from service.clock import Deadline
from service.outcome import UnreadableError

MIB = 1 << 20


def tree(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_v2_group_inherits_the_limit_of_the_slice_above(tmp_path: Path) -> None:
    tree(
        tmp_path / "cgroup",
        {
            "cgroup.controllers": "cpu memory\n",
            "slice/memory.max": "1000\n",
            "slice/memory.current": "10\n",
            "slice/unit/memory.max": "max\n",
            "slice/unit/cpu.max": "50000 100000\n",
        },
    )
    (tmp_path / "self").write_text("0::/slice/unit\n")
    assert host.container_limits(tmp_path / "cgroup", tmp_path / "self") == Limits(1000, 10, 0.5)


def test_in_a_cgroup_namespace_the_root_is_the_group(tmp_path: Path) -> None:
    tree(tmp_path / "cgroup", {"cgroup.controllers": "", "memory.max": "7\n", "memory.current": "3\n"})
    (tmp_path / "self").write_text("0::/\n")
    assert host.container_limits(tmp_path / "cgroup", tmp_path / "self") == Limits(7, 3, None)


def test_v1_has_a_tree_for_each_controller(tmp_path: Path) -> None:
    tree(
        tmp_path / "cgroup",
        {
            "memory/docker/x/memory.limit_in_bytes": "1000\n",
            "memory/docker/x/memory.usage_in_bytes": "10\n",
            "cpu/docker/x/cpu.cfs_quota_us": "200000\n",
            "cpu/docker/x/cpu.cfs_period_us": "100000\n",
        },
    )
    (tmp_path / "self").write_text("4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n")
    assert host.container_limits(tmp_path / "cgroup", tmp_path / "self") == Limits(1000, 10, 2.0)


def test_without_cgroups_there_are_no_limits(tmp_path: Path) -> None:
    assert host.container_limits(tmp_path, tmp_path / "none") == Limits()


def test_a_container_counts_where_it_allows_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "container_limits", lambda: Limits(64 * MIB, 60 * MIB, 0.25))
    state = host.collect_host(Deadline.after(1))
    assert state.limited
    assert (state.memory_total, state.memory_used, state.memory_available) == (64 * MIB, 60 * MIB, 4 * MIB)
    assert (state.cpu_count, state.machine_cores) == (0.25, psutil.cpu_count())
    assert host.collect_process(Deadline.after(1)).limit == 64 * MIB


def test_a_limit_above_the_host_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "container_limits", lambda: Limits(1 << 60, 5, 4096.0))
    state = host.collect_host(Deadline.after(1))
    assert not state.limited
    assert state.memory_total == psutil.virtual_memory().total
    assert host.collect_process(Deadline.after(1)).limit is None


def test_a_limit_whose_use_is_unknown_is_not_measured_with_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "container_limits", lambda: Limits(64 * MIB, None, None))
    state = host.collect_host(Deadline.after(1))
    assert not state.limited
    assert state.memory_available > 0
    assert host.collect_process(Deadline.after(1)).limit == 64 * MIB


class Mount(NamedTuple):
    device: str
    mountpoint: str
    fstype: str


def mounted(monkeypatch: pytest.MonkeyPatch, *, devices: list[Mount], others: list[Mount]) -> dict[str, int]:
    """The sizes reported for these mounts; each has as many bytes as its mount point has letters."""

    def usage(mountpoint: str) -> SimpleNamespace:
        return SimpleNamespace(total=len(mountpoint), free=0)

    monkeypatch.setattr(
        psutil, "disk_partitions", lambda **options: [*others, *devices] if options["all"] else devices
    )
    monkeypatch.setattr(psutil, "disk_usage", usage)
    return {
        path: filesystem.size for path, filesystem in host.collect_host(Deadline.after(1)).filesystems.items()
    }


def test_a_containers_root_is_reported_and_the_files_bound_into_it_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bound = tmp_path / "hosts"
    bound.touch()
    devices = [Mount("/dev/vda1", str(bound), "ext4"), Mount("/dev/vdb", str(tmp_path), "ext4")]
    others = [Mount("overlay", "/", "overlay"), Mount("tmpfs", "/dev/shm", "tmpfs")]
    assert mounted(monkeypatch, devices=devices, others=others) == {"/": 1, str(tmp_path): len(str(tmp_path))}


def test_what_is_mounted_twice_over_the_network_or_as_an_image_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = Mount("/dev/vda", "/", "ext4")
    again = Mount("/dev/vda", str(tmp_path), "ext4")
    snap = Mount("/dev/loop1", str(tmp_path), "squashfs")
    share = Mount("server:/export", str(tmp_path), "nfs4")
    assert mounted(monkeypatch, devices=[root, again, snap, share], others=[]) == {"/": 1}


def test_a_root_over_the_network_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mounted(monkeypatch, devices=[], others=[Mount("server:/root", "/", "nfs4")]) == {}


def test_disks_are_whole_and_interfaces_are_the_hosts_own(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sorted(path.name for path in Path("/sys/block").iterdir())
    counted = SimpleNamespace(read_bytes=1, write_bytes=2, busy_time=1500)
    sent = SimpleNamespace(bytes_recv=1, bytes_sent=2, errin=3, errout=4)
    names = [*whole, "vda999p1", "loop0", "ram0", "zram0"]
    monkeypatch.setattr(psutil, "disk_io_counters", lambda *, perdisk: dict.fromkeys(names, counted))
    monkeypatch.setattr(
        psutil, "net_io_counters", lambda *, pernic: dict.fromkeys(("lo", "eth0", "vethab"), sent)
    )
    state = host.collect_host(Deadline.after(1))
    expected = [name for name in whole if not name.startswith(("loop", "ram", "zram"))]
    assert state.disks == dict.fromkeys(expected, Disk(1, 2, 1.5))
    assert state.networks == {"eth0": Network(1, 2, 3, 4)}


def test_what_a_sandbox_refuses_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError

    for name in ("disk_io_counters", "net_io_counters", "disk_partitions", "swap_memory"):
        monkeypatch.setattr(psutil, name, refused)
    state = host.collect_host(Deadline.after(1))
    assert (state.disks, state.networks, state.filesystems, state.swap_used) == ({}, {}, {}, None)
    assert state.memory_total > 0


def test_without_memory_or_cpu_the_host_was_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise PermissionError

    monkeypatch.setattr(psutil, "virtual_memory", refused)
    with pytest.raises(UnreadableError, match="PermissionError"):
        host.collect_host(Deadline.after(1))
    with pytest.raises(UnreadableError, match="PermissionError"):
        host.collect_process(Deadline.after(1))
