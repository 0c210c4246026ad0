from __future__ import annotations

from dataclasses import replace

from exporter.assessment import Assessment
from exporter.health import Health
from exporter.metrics.host import FAMILIES
from exporter.snapshot.host import Disk, Filesystem, HostState, Network
from exporter.snapshot.whole import Snapshot
from service.outcome import Failed, Ok, Outcome

HOST = HostState(
    cpu_seconds={"user": 1.5, "idle": 9.0},
    cpu_count=0.5,
    machine_cores=4,
    load=(1.0, 2.0, 3.0),
    memory_total=100,
    memory_available=40,
    memory_used=55,
    swap_used=7,
    boot_time=1000.0,
    boot_id="e8a1",
    filesystems={"/": Filesystem(10, 4)},
    disks={"vda": Disk(1, 2, 3.5), "md0": Disk(4, 5, None)},
    networks={"eth0": Network(1, 2, 3, 4)},
)


def series(outcome: Outcome[HostState] | None) -> dict[str, dict[tuple[str, ...], float]]:
    assessment = Assessment(Snapshot(0.0, host=outcome), Health(100, "healthy", ()))
    read = {family.name: dict(family.read(assessment)) for family in FAMILIES}
    return {name: samples for name, samples in read.items() if samples}


def test_every_value_has_its_series() -> None:
    assert series(Ok(HOST)) == {
        "host_cpu_seconds_total": {("user",): 1.5, ("idle",): 9.0},
        "host_cpu_count": {(): 0.5},
        "host_machine_cpu_count": {(): 4},
        "host_load1": {(): 1.0},
        "host_load5": {(): 2.0},
        "host_load15": {(): 3.0},
        "host_memory_total_bytes": {(): 100},
        "host_memory_available_bytes": {(): 40},
        "host_memory_used_bytes": {(): 55},
        "host_memory_swap_used_bytes": {(): 7},
        "host_filesystem_size_bytes": {("/",): 10},
        "host_filesystem_avail_bytes": {("/",): 4},
        "host_disk_read_bytes_total": {("vda",): 1, ("md0",): 4},
        "host_disk_written_bytes_total": {("vda",): 2, ("md0",): 5},
        "host_disk_io_time_seconds_total": {("vda",): 3.5},
        "host_network_receive_bytes_total": {("eth0",): 1},
        "host_network_transmit_bytes_total": {("eth0",): 2},
        "host_network_receive_errors_total": {("eth0",): 3},
        "host_network_transmit_errors_total": {("eth0",): 4},
        "host_boot_time_seconds": {(): 1000.0},
        "host_info": {("e8a1",): 1.0},
    }


def test_what_was_not_read_is_not_there() -> None:
    assert series(Failed("error", "no")) == {}
    assert series(None) == {}


def test_swap_that_the_platform_does_not_report_is_absent_not_0() -> None:
    assert "host_memory_swap_used_bytes" not in series(Ok(replace(HOST, swap_used=None)))


def test_a_kernel_without_a_boot_id_has_no_identity() -> None:
    assert "host_info" not in series(Ok(replace(HOST, boot_id=None)))
