"""Two readings of totals to rates; what is unknown has none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.derived import cpu_usage
from exporter.host.rates import RATE_SECONDS, RateWindow, host_rates
from exporter.snapshot.host import Disk, HostState, Network
from tests.support.assessments import host_state


def reading(second: float, **changes: object) -> HostState:
    """Totals of a host that uses 1 of 4 CPU seconds each second, reads 100 and writes 50 bytes, gets 7."""
    totals = {
        "cpu_seconds": {
            "user": second * 0.75,
            "system": second * 0.25,
            "idle": second * 2.5,
            "iowait": second * 0.5,
        },
        "disks": {"sda": Disk(int(second * 100), int(second * 50), second * 0.25)},
        "networks": {"eth0": Network(int(second * 7), int(second * 3), 0, int(second))},
    }
    return replace(host_state(), **(totals | changes))  # type: ignore[arg-type]


def test_rates_between_two_readings() -> None:
    rates = host_rates(reading(100), reading(110), 10)
    assert rates.cpu == pytest.approx({"user": 0.1875, "system": 0.0625, "idle": 0.625, "iowait": 0.125})
    assert cpu_usage(rates) == pytest.approx(0.25)
    assert rates.disks["sda"] == (100.0, 50.0, 0.25)
    assert rates.networks["eth0"] == (7.0, 3.0, 1.0)


def test_a_device_that_was_replaced_has_no_rate() -> None:
    before = reading(100, disks={"sda": Disk(9_999_999, 0, None), "gone": Disk(1, 1, 1.0)})
    rates = host_rates(before, reading(110), 10)
    assert rates.disks == {}
    assert rates.networks.keys() == {"eth0"}
    assert host_rates(before, reading(110, networks={"eth0": Network(0, 0, 0, 0)}), 10).networks == {}


def test_a_mode_that_runs_backwards_is_no_time() -> None:
    before = reading(100, cpu_seconds={"user": 10.0, "idle": 10.0, "iowait": 5.0})
    rates = host_rates(before, reading(1, cpu_seconds={"user": 11.0, "idle": 13.0, "iowait": 4.9}), 1)
    assert rates.cpu == {"user": 0.25, "idle": 0.75, "iowait": 0.0}


def test_without_two_readings_there_is_none() -> None:
    same = host_rates(reading(5), reading(5), 1)
    assert (same.cpu, cpu_usage(same), cpu_usage(None)) == ({}, None, None)
    window = RateWindow()
    assert window.rates(10.0, reading(10)) is None
    assert window.rates(10.4, reading(10.4)) is None, "too short to mean anything"


def test_a_busy_time_that_the_kernel_does_not_report() -> None:
    before, after = ({"sda": Disk(n, n, None)} for n in (1, 11))
    assert host_rates(reading(1, disks=before), reading(2, disks=after), 10).disks["sda"] == (1.0, 1.0, None)


def test_the_window_is_a_minute_however_often_it_is_read() -> None:
    window, covered = RateWindow(), []
    for tenth in range(3000):
        rates = window.rates(tenth / 10, reading(tenth / 10))
        covered.append(rates.seconds if rates else 0.0)
    assert max(covered) < RATE_SECONDS + 6
    assert min(covered[700:]) >= RATE_SECONDS - 5
    assert len(window._readings) <= 14


def test_rare_readings_cover_what_is_between_them() -> None:
    window = RateWindow()
    window.rates(0, reading(0))
    rates = window.rates(300, reading(300))
    assert rates is not None
    assert rates.seconds == 300
    after = window.rates(600, reading(600))
    assert after is not None
    assert after.seconds == 300


def test_a_host_that_booted_again_begins_anew() -> None:
    window = RateWindow()
    window.rates(0, reading(1000))
    assert window.rates(60, reading(10, boot_time=500.0)) is None
    rates = window.rates(70, reading(20, boot_time=500.4))
    assert rates is not None
    assert rates.disks["sda"].read == 100
