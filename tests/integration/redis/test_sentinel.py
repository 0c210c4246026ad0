"""A real Sentinel set: found from any sentinel, with its own password, and followed through a failover."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.snapshot.redis import RedisState
from lab.deadline import wait_until
from lab.sentinel import SentinelSet, start_sentinel_set
from service.outcome import Failed
from tests.support.deployments import Connect, collect


@pytest.fixture(scope="module")
def watched() -> Iterator[SentinelSet]:
    with start_sentinel_set(password="data-s3kret", sentinel_password="watch-s3kret") as started:
        yield started


def settings(watched: SentinelSet, **changed: object) -> dict[str, object]:
    return {
        "sentinels": watched.sentinel_addresses,
        "sentinel_master": watched.name,
        "password": "data-s3kret",
        "sentinel_password": "watch-s3kret",
        **changed,
    }


def roles(state: RedisState) -> dict[str, str]:
    return {node.address: node.role for node in state.topology.nodes}


def expected(watched: SentinelSet) -> dict[str, str]:
    master = watched.master().address
    return {server.address: "master" if server.address == master else "replica" for server in watched.servers}


def test_one_sentinel_leads_to_all(watched: SentinelSet, connect: Connect) -> None:
    deployment = connect(**settings(watched, sentinels=watched.sentinel_addresses[:1]))
    state = collect(deployment)
    assert roles(state) == expected(watched)
    assert len(state.readings()) == 3
    assert state.sentinel is not None
    assert (state.sentinel.name, state.sentinel.address) == (watched.name, watched.master().address)
    assert (state.sentinel.sentinels, state.sentinel.replicas) == (3, 2)
    assert (state.sentinel.status_ok, state.sentinel.quorum_ok) == (True, True)
    assert deployment.sentinels == set(watched.sentinel_addresses)


def test_a_wrong_password_of_the_sentinels(watched: SentinelSet, connect: Connect) -> None:
    state = collect(connect(**settings(watched, sentinel_password="data-s3kret")))
    assert list(state.nodes) == sorted(watched.sentinel_addresses)
    assert {outcome.kind for outcome in state.nodes.values() if isinstance(outcome, Failed)} == {"auth"}
    assert "s3kret" not in repr(state)


def test_a_wrong_password_of_the_servers(watched: SentinelSet, connect: Connect) -> None:
    state = collect(connect(**settings(watched, password="watch-s3kret")))
    assert list(state.nodes) == sorted(server.address for server in watched.servers)
    assert {outcome.kind for outcome in state.nodes.values() if isinstance(outcome, Failed)} == {"auth"}
    assert state.sentinel is not None
    assert state.sentinel.status_ok


def test_a_master_that_the_sentinels_do_not_know(watched: SentinelSet, connect: Connect) -> None:
    outcomes = collect(connect(**settings(watched, sentinel_master="nobody"))).nodes.values()
    assert {out.message for out in outcomes if isinstance(out, Failed)} == {
        "SENTINEL MASTER: ERR No such master with that name (it monitors: mymaster)"
    }


def test_a_server_among_the_sentinels(watched: SentinelSet, connect: Connect) -> None:
    servers = [server.address for server in watched.servers]
    outcomes = collect(connect(**settings(watched, sentinels=servers, sentinel_password="data-s3kret"))).nodes
    assert all(isinstance(out, Failed) and "SENTINEL" in out.message for out in outcomes.values())


def test_a_failover_is_followed(watched: SentinelSet, connect: Connect) -> None:
    deployment = connect(**settings(watched))
    before = collect(deployment)
    assert before.sentinel is not None
    epoch = before.sentinel.config_epoch
    old = watched.master()
    old.kill()
    dead = collect(deployment)
    assert isinstance(dead.nodes[old.address], Failed)
    new = watched.wait_for_new_master(old)

    def followed() -> RedisState | None:
        state = collect(deployment)
        return state if roles(state)[new.address] == "master" else None

    after = wait_until(followed, what="most sentinels name the new master", seconds=20, every=0.1)
    assert after is not None
    assert after.sentinel is not None
    assert (after.sentinel.address, after.sentinel.config_epoch) == (new.address, epoch + 1)
    assert roles(after)[old.address] == "replica"
    assert isinstance(after.nodes[old.address], Failed)
    old.restart()
    wait_until(
        lambda: len(collect(deployment).readings()) == 3, what="the old master is back", seconds=20, every=0.1
    )


def test_a_hung_sentinel_and_then_no_quorum(watched: SentinelSet, connect: Connect) -> None:
    deployment = connect(**settings(watched, timeout_seconds=0.5))
    collect(deployment)
    try:
        for sentinel in watched.sentinels[1:]:
            sentinel.suspend()
        state = collect(deployment)
        assert len(state.readings()) == 3
        lost = wait_until(
            lambda: (sentinel := collect(deployment).sentinel) is not None and sentinel.quorum_ok is False,
            what="the last sentinel sees that there is no quorum",
            seconds=20,
            every=0.1,
        )
        assert lost
        watched.sentinels[0].suspend()
        nobody = collect(deployment)
        assert nobody.sentinel is None
        assert len(nobody.readings()) == 3
    finally:
        for sentinel in watched.sentinels:
            sentinel.resume()
    wait_until(
        lambda: (sentinel := collect(deployment).sentinel) is not None and sentinel.quorum_ok,
        what="there is a quorum again",
        seconds=20,
        every=0.1,
    )
