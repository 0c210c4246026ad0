"""The election on simulated clocks: whatever is late, lost or asleep, at no moment do two lead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.kube import lease
from scaler.kube.election import Record, Watched, held, lease_body, record_of, released
from scaler.kube.errors import KubeError
from scaler.kube.lease import Elector
from service.clock import Deadline

SECONDS = 15


@dataclass
class World:
    """One Lease, one clock for all; each request takes the next of the delays and may be lost."""

    delays: Iterator[tuple[float, bool]]
    time: float = 0.0
    version: int = 1
    spec: dict[str, Any] = field(default_factory=dict)
    electors: list[Elector] = field(default_factory=list)
    led: list[str] = field(default_factory=list)

    def lease(self, name: str, deadline: Deadline) -> dict[str, Any]:
        self._travel()
        found = {"metadata": {"name": name, "resourceVersion": str(self.version)}, "spec": dict(self.spec)}
        self._travel()
        return found

    def replace_lease(self, name: str, body: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        self._travel()
        if body["metadata"]["resourceVersion"] != str(self.version):
            raise KubeError("conflict", "the object has been modified", status=409)
        self.version += 1
        self.spec = dict(body["spec"])
        answer = {"metadata": {"name": name, "resourceVersion": str(self.version)}, "spec": dict(self.spec)}
        self._travel()
        return answer

    def _travel(self) -> None:
        seconds, lost = next(self.delays, (0.01, False))
        self.sleep(seconds)
        if lost:
            raise KubeError("timeout", "no answer")

    def sleep(self, seconds: float) -> None:
        """Time passes, and at each moment of it at most one leads."""
        for _ in range(4):
            self.time += seconds / 4
            leading = [one.identity for one in self.electors if one.leading]
            assert len(leading) <= 1, leading
            if leading and self.led[-1:] != leading:
                self.led += leading


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(iter(()))
    monkeypatch.setattr(lease, "boottime", lambda: made.time)
    return made


def elect(world: World, name: str) -> Elector:
    elector = Elector(world, "oxherd-scaler", SECONDS, who=name)  # type: ignore[arg-type]
    world.electors.append(elector)
    return elector


def run(world: World, electors: list[Elector], seconds: float) -> None:
    """Each takes its turn when it is due."""
    due = dict.fromkeys(range(len(electors)), world.time)
    end = world.time + seconds
    while world.time < end:
        who = min(due, key=lambda one: due[one])
        world.sleep(max(0.0, due[who] - world.time))
        due[who] = world.time + electors[who]._step()


def test_one_of_two_leads_and_goes_on_leading(world: World) -> None:
    run(world, [elect(world, "a"), elect(world, "b")], 300)
    assert world.led == ["a"]
    assert world.spec["leaseTransitions"] == 1


def test_when_the_leader_is_silent_the_other_leads_within_the_lease_and_a_sixth(world: World) -> None:
    a, b = elect(world, "a"), elect(world, "b")
    run(world, [a, b], 60)
    silent, pause = world.time, 0.0
    while not b.leading:
        world.sleep(pause)
        pause = b._step()
    world.sleep(0.01)
    assert world.led == ["a", "b"]
    assert world.time - silent <= SECONDS * (1 + 1 / 6) + 0.1


def test_a_lease_that_was_given_back_is_taken_at_once(world: World) -> None:
    a, b = elect(world, "a"), elect(world, "b")
    run(world, [a, b], 60)
    assert a.stop()
    run(world, [b], SECONDS / 6 + 0.1)
    assert world.led == ["a", "b"]


TURNS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.floats(0, 40),
        st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=4),
    ),
    max_size=60,
)


@given(TURNS)
def test_at_no_moment_do_two_lead(turns: list[tuple[int, float, list[tuple[float, bool]]]]) -> None:
    """Turns of three at any time, requests that take longer than a lease, answers that are lost."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = World(iter(()))
        monkeypatch.setattr(lease, "boottime", lambda: world.time)
        electors = [elect(world, name) for name in "abc"]
        for who, pause, delays in turns:
            world.sleep(pause)
            world.delays = iter(delays)
            electors[who]._step()


def test_what_a_record_says() -> None:
    free = record_of({"metadata": {"resourceVersion": "7"}})
    assert free == Record("", 0.0, "7")
    mine = held(free, "me", 15, 0.0)
    assert (mine.holder, mine.seconds, mine.transitions, mine.version) == ("me", 15, 1, "7")
    assert held(mine, "me", 15, 99.0).acquired == mine.acquired
    assert held(mine, "you", 15, 99.0).transitions == 2
    assert released(mine).holder == ""
    with pytest.raises(ValueError, match="no Lease"):
        record_of({"metadata": None})


def test_a_follower_counts_from_when_it_saw_a_record_change() -> None:
    watched = Watched(Record("you", 15, "1"), 100.0)
    assert watched.seen(Record("you", 15, "1"), 110.0).free_at() == 115.0
    assert watched.seen(Record("you", 15, "2"), 110.0).free_at() == 125.0
    assert watched.seen(Record("", 1, "3"), 110.0).free_at() == 110.0


def test_the_lease_that_is_written_keeps_what_others_put_there() -> None:
    data = {"metadata": {"name": "l", "labels": {"app": "oxherd"}, "resourceVersion": "3"}, "spec": {}}
    body = lease_body("l", held(record_of(data), "me", 15, 0.0), data, 0.0)
    assert body["metadata"] == {"name": "l", "labels": {"app": "oxherd"}, "resourceVersion": "3"}
    assert body["spec"]["renewTime"] == "1970-01-01T00:00:00.000000Z"


def test_a_lease_that_cannot_be_read_does_not_end_the_thread(world: World) -> None:
    world.delays = iter([(0.1, True)] * 50)
    elector = elect(world, "a")
    with suppress(StopIteration):
        assert elector._step() > 0
    assert not elector.leading
