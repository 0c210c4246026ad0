"""Leader election on simulated clocks: whatever is late, lost or asleep, there are never two leaders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.kube import lease
from scaler.kube.election import (
    LeaseRecord,
    ObservedRecord,
    acquire_or_renew,
    lease_body,
    record_of,
    release,
)
from scaler.kube.errors import KubeError
from scaler.kube.lease import LeaderElector
from service.clock import Deadline

SECONDS = 15


@dataclass
class World:
    """One Lease, one clock for all; each request takes the next of the delays and may be lost."""

    delays: Iterator[tuple[float, bool]]
    time: float = 0.0
    version: int = 1
    spec: dict[str, Any] = field(default_factory=dict)
    electors: list[LeaderElector] = field(default_factory=list)
    led: list[str] = field(default_factory=list)

    def lease(self, name: str, deadline: Deadline) -> dict[str, Any]:
        self._travel()
        body = {"metadata": {"name": name, "resourceVersion": str(self.version)}, "spec": dict(self.spec)}
        self._travel()
        return body

    def replace_lease(self, name: str, body: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        self._travel()
        if body["metadata"]["resourceVersion"] != str(self.version):
            raise KubeError("conflict", "the object has been modified", status=409)
        self.version += 1
        self.spec = dict(body["spec"])
        written = {"metadata": {"name": name, "resourceVersion": str(self.version)}, "spec": dict(self.spec)}
        self._travel()
        return written

    def _travel(self) -> None:
        seconds, lost = next(self.delays, (0.01, False))
        self.sleep(seconds)
        if lost:
            raise KubeError("timeout", "no answer")

    def sleep(self, seconds: float) -> None:
        """Time passes, and at each moment of it there is at most one leader."""
        for _ in range(4):
            self.time += seconds / 4
            leading = [elector.identity for elector in self.electors if elector.leading]
            assert len(leading) <= 1, leading
            if leading and self.led[-1:] != leading:
                self.led += leading


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(iter(()))
    monkeypatch.setattr(lease, "boottime", lambda: world.time)
    return world


def elect(world: World, name: str) -> LeaderElector:
    elector = LeaderElector(world, "oxherd-scaler", SECONDS, identity=name)  # type: ignore[arg-type]
    world.electors.append(elector)
    return elector


def run(world: World, electors: list[LeaderElector], seconds: float) -> None:
    """Each candidate steps when it is due."""
    due = dict.fromkeys(range(len(electors)), world.time)
    end = world.time + seconds
    while world.time < end:
        index = min(due, key=lambda index: due[index])
        world.sleep(max(0.0, due[index] - world.time))
        due[index] = world.time + electors[index]._step()


def test_one_of_two_candidates_becomes_leader_and_stays_it(world: World) -> None:
    run(world, [elect(world, "a"), elect(world, "b")], 300)
    assert world.led == ["a"]
    assert world.spec["leaseTransitions"] == 1


def test_when_the_leader_does_not_renew_the_other_takes_over_within_the_lease_and_a_sixth(
    world: World,
) -> None:
    a, b = elect(world, "a"), elect(world, "b")
    run(world, [a, b], 60)
    silent, pause = world.time, 0.0
    while not b.leading:
        world.sleep(pause)
        pause = b._step()
    world.sleep(0.01)
    assert world.led == ["a", "b"]
    assert world.time - silent <= SECONDS * (1 + 1 / 6) + 0.1


def test_a_released_lease_is_acquired_at_once(world: World) -> None:
    a, b = elect(world, "a"), elect(world, "b")
    run(world, [a, b], 60)
    assert a.stop()
    run(world, [b], SECONDS / 6 + 0.1)
    assert world.led == ["a", "b"]


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.floats(0, 40),
        st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=4),
    ),
    max_size=60,
)


@given(STEPS)
def test_there_are_never_two_leaders(steps: list[tuple[int, float, list[tuple[float, bool]]]]) -> None:
    """Steps of three candidates at any time, requests that take longer than a lease, lost responses."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = World(iter(()))
        monkeypatch.setattr(lease, "boottime", lambda: world.time)
        electors = [elect(world, name) for name in "abc"]
        for index, pause, delays in steps:
            world.sleep(pause)
            world.delays = iter(delays)
            electors[index]._step()


def test_a_record_is_acquired_renewed_and_released() -> None:
    free = record_of({"metadata": {"resourceVersion": "7"}})
    assert free == LeaseRecord("", 0.0, "7")
    mine = acquire_or_renew(free, "me", 15, 0.0)
    assert (mine.holder, mine.seconds, mine.transitions, mine.version) == ("me", 15, 1, "7")
    assert acquire_or_renew(mine, "me", 15, 99.0).acquired == mine.acquired
    assert acquire_or_renew(mine, "you", 15, 99.0).transitions == 2
    assert release(mine).holder == ""
    with pytest.raises(ValueError, match="not a Lease"):
        record_of({"metadata": None})


def test_a_follower_counts_from_when_it_read_a_changed_record() -> None:
    observed = ObservedRecord(LeaseRecord("you", 15, "1"), 100.0)
    assert observed.observe(LeaseRecord("you", 15, "1"), 110.0).available_at() == 115.0
    assert observed.observe(LeaseRecord("you", 15, "2"), 110.0).available_at() == 125.0
    assert observed.observe(LeaseRecord("", 1, "3"), 110.0).available_at() == 110.0


def test_a_written_lease_keeps_the_fields_of_others() -> None:
    data = {"metadata": {"name": "l", "labels": {"app": "oxherd"}, "resourceVersion": "3"}, "spec": {}}
    body = lease_body("l", acquire_or_renew(record_of(data), "me", 15, 0.0), data, 0.0)
    assert body["metadata"] == {"name": "l", "labels": {"app": "oxherd"}, "resourceVersion": "3"}
    assert body["spec"]["renewTime"] == "1970-01-01T00:00:00.000000Z"


def test_a_lease_that_cannot_be_read_does_not_end_the_thread(world: World) -> None:
    world.delays = iter([(0.1, True)] * 50)
    elector = elect(world, "a")
    with suppress(StopIteration):
        assert elector._step() > 0
    assert not elector.leading
