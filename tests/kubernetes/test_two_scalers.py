"""Leader election of two real scalers of one workload: one acts, and when it is gone the other takes over."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.deadline import wait_until
from service.clock import monotonic
from tests.support.fake_prometheus import fake_prometheus
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import LEASE
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.scalers import ScalerProcess, scaler, settings

pytestmark = pytest.mark.timeout(180)  # up to 19 s alone, of two processes and their leases

LEASE_SECONDS, INTERVAL = 3, 1


@pytest.fixture
def two(admin: Admin, kubeconfig: str, tmp_path: Path) -> Iterator[tuple[ScalerProcess, ScalerProcess]]:
    """The leader and the other. The proposed number of workers changes every second."""
    admin.workload("mail", 1)
    with fake_prometheus(waiting=lambda time: 40 if int(time) % 2 else 0) as prometheus:
        # At a bound there would be nothing to change, and the first write of the new leader would be late.
        data = settings(kubeconfig, prometheus.url, defaults={"max_workers": 50})
        with scaler("one", tmp_path, data) as leader:
            wait_until(leader.is_leader, what="the first is the leader", seconds=60)
            with scaler("other", tmp_path, data) as other:
                wait_until(lambda: (other.status() or {}).get("targets"), what="a step", seconds=60)
                yield leader, other


def writers(front: Front, since: float = 0.0) -> list[str]:
    """The scalers that wrote, in order, without repetitions."""
    names = [
        "one" if "(one_" in write.user_agent else "other" for write in front.writes() if write.at >= since
    ]
    return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]


def wait_for_write(front: Front, name: str, since: float) -> float:
    """When `name` first wrote after `since`."""

    def first() -> float | None:
        return next(
            (write.at for write in front.writes() if write.at >= since and f"({name}_" in write.user_agent),
            None,
        )

    return wait_until(first, what=f"{name} writes", seconds=60) or 0.0


def test_only_the_leader_writes_and_the_follower_publishes_metrics(
    two: tuple[ScalerProcess, ScalerProcess], front: Front, admin: Admin
) -> None:
    leader, other = two
    begin = monotonic()
    wait_until(
        lambda: len([write for write in front.writes() if write.at > begin]) > 3, what="writes", seconds=60
    )
    assert writers(front) == ["one"]
    assert admin.lease(LEASE)["spec"]["holderIdentity"].startswith("one_")
    assert "oxherd_scaler_leader 1.0" in leader.metrics()
    assert "oxherd_scaler_leader 0.0" in other.metrics()
    assert 'oxherd_scaler_current_replicas{queue="mail",target="mail"}' in other.metrics()
    assert other.status() is not None


@pytest.mark.fault
def test_after_the_leader_is_killed_another_replica_takes_over_in_time(
    two: tuple[ScalerProcess, ScalerProcess], front: Front
) -> None:
    wait_for_write(front, "one", 0.0)
    killed = monotonic()
    two[0].signal(signal.SIGKILL)
    assert wait_for_write(front, "other", killed) - killed <= LEASE_SECONDS + INTERVAL
    assert writers(front) == ["one", "other"]


def test_a_leader_that_stops_releases_the_lease(
    two: tuple[ScalerProcess, ScalerProcess], front: Front
) -> None:
    wait_for_write(front, "one", 0.0)
    two[0].stop()
    ended = monotonic()
    assert "lease released" in two[0].log.read_text()
    assert wait_for_write(front, "other", 0.0) - ended < LEASE_SECONDS
    assert writers(front) == ["one", "other"]


def test_a_leader_that_sleeps_past_its_lease_writes_nothing_when_it_wakes(
    two: tuple[ScalerProcess, ScalerProcess], front: Front
) -> None:
    wait_for_write(front, "one", 0.0)
    slept = monotonic()
    two[0].signal(signal.SIGSTOP)
    assert wait_for_write(front, "other", slept) - slept <= LEASE_SECONDS + INTERVAL
    woken = monotonic()
    two[0].signal(signal.SIGCONT)
    wait_until(lambda: "lost leadership" in two[0].log.read_text(), what="it notices", seconds=60)
    wait_until(
        lambda: len([write for write in front.writes() if write.at > woken]) > 2, what="writes", seconds=60
    )
    assert writers(front) == ["one", "other"]


@pytest.mark.parametrize("fault", ["hang", "reset", "after"])
def test_a_leader_that_is_cut_off_stops_before_its_lease_ends(
    two: tuple[ScalerProcess, ScalerProcess], front: Front, fault: str
) -> None:
    wait_for_write(front, "one", 0.0)
    cut = monotonic()
    with front.fault("", fault, user_agent="(one_"):
        took = wait_for_write(front, "other", cut) - cut
        if fault != "after":  # an answer that is lost may have renewed the lease: once, and it is not known
            assert took <= LEASE_SECONDS + INTERVAL
        assert not two[0].is_leader()
    back = monotonic()
    wait_until(
        lambda: len([write for write in front.writes() if write.at > back]) > 2, what="writes", seconds=60
    )
    assert writers(front) == ["one", "other"]


@pytest.mark.fault
def test_while_the_server_hangs_for_all_nobody_leads_and_afterwards_one_does(
    two: tuple[ScalerProcess, ScalerProcess], front: Front
) -> None:
    wait_for_write(front, "one", 0.0)
    with front.fault("", "hang"):
        wait_until(lambda: not any(process.is_leader() for process in two), what="nobody leads", seconds=60)
    back = monotonic()
    wait_until(lambda: any(write.at > back for write in front.writes()), what="writes", seconds=60)
    assert len(writers(front, since=back)) == 1
