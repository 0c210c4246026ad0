from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

import pytest

from exporter.redis.connect import ClosedError
from exporter.redis.pool import ConnectionPools
from exporter.redis.protocol import Reply, Request, pack_request
from lab.deadline import wait_until
from service.clock import Deadline
from service.outcome import Failed, Ok, Outcome, UnreadableError
from tests.support.no_threads import no_threads

PING = pack_request([("PING",)])
Script = Callable[[], list[Reply]]


class FakeConnection:
    """Answers what the script makes; raises what it raises."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.closed = False

    def exchange(self, request: Request, deadline: Deadline) -> list[Reply]:
        return self.script()

    def close(self) -> None:
        self.closed = True


class FakeNet:
    """Opens connections that all follow one script, and keeps them."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connections: list[FakeConnection] = []

    def connect(self, address: str, deadline: Deadline) -> FakeConnection:
        self.connections.append(FakeConnection(self.script))
        return self.connections[-1]


def execute(
    pools: ConnectionPools, *, pool: str = "redis", address: str = "a:1", seconds: float = 5
) -> Outcome[list[Reply]]:
    return pools.submit(pool, address, PING, Deadline.after(seconds)).outcome()


def pools_of(net: FakeNet) -> ConnectionPools:
    return ConnectionPools(net.connect)  # type: ignore[arg-type]


def replies(outcome: Outcome[list[Reply]]) -> list[Reply]:
    assert isinstance(outcome, Ok)
    return outcome.value


def test_one_connection_serves_a_pool_and_each_pool_has_its_own() -> None:
    net = FakeNet(lambda: [b"PONG"])
    pools = pools_of(net)
    assert [replies(execute(pools)) for _ in range(3)] == [[b"PONG"]] * 3
    assert len(net.connections) == 1
    execute(pools, pool="bullmq")
    execute(pools, address="b:1")
    assert len(net.connections) == 3
    pools.close()


def test_the_last_replies_are_not_kept_until_the_next_request() -> None:
    class Replies(list[Reply]):
        """Of a list itself no weak reference can be made."""

    made: list[weakref.ref[Replies]] = []

    def script() -> list[Reply]:
        answer = Replies([b"PONG"])
        made.append(weakref.ref(answer))
        return answer

    pools = pools_of(FakeNet(script))
    assert replies(execute(pools)) == [b"PONG"]
    wait_until(lambda: made[0]() is None, what="the replies are gone", seconds=2, every=0.001)
    pools.close()


def test_a_failure_is_a_value_and_the_next_use_connects_again() -> None:
    script_replies: list[UnreadableError | list[Reply]] = [
        UnreadableError("timeout", "no answer in time"),
        [b"PONG"],
    ]

    def script() -> list[Reply]:
        reply = script_replies.pop(0)
        if isinstance(reply, UnreadableError):
            raise reply
        return reply

    net = FakeNet(script)
    pools = pools_of(net)
    failed = execute(pools)
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.message) == ("timeout", "no answer in time")
    assert net.connections[0].closed
    assert replies(execute(pools)) == [b"PONG"]
    assert len(net.connections) == 2
    pools.close()


def test_a_connection_that_the_server_closed_meanwhile_is_opened_again_at_once() -> None:
    script_replies: list[ClosedError | list[Reply]] = [[b"PONG"], ClosedError("gone"), [b"PONG"]]

    def script() -> list[Reply]:
        reply = script_replies.pop(0)
        if isinstance(reply, ClosedError):
            raise reply
        return reply

    net = FakeNet(script)
    pools = pools_of(net)
    assert [replies(execute(pools)) for _ in range(2)] == [[b"PONG"]] * 2
    assert [connection.closed for connection in net.connections] == [True, False]
    pools.close()


def test_a_new_connection_that_is_closed_is_not_tried_again() -> None:
    def script() -> list[Reply]:
        raise ClosedError("the server closed the connection")

    net = FakeNet(script)
    pools = pools_of(net)
    assert isinstance(execute(pools), Failed)
    assert len(net.connections) == 1
    pools.close()


def test_a_surprise_becomes_a_failure_and_the_pool_keeps_working() -> None:
    script_replies: dict[str, Reply] = {"well": b"PONG"}

    def script() -> list[Reply]:
        return [script_replies["well"]] if net.connections[1:] else [script_replies["secret"]]

    net = FakeNet(script)
    pools = pools_of(net)
    failed = execute(pools)
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.message) == ("error", "KeyError in the exchange with the node")
    assert replies(execute(pools)) == [b"PONG"]
    pools.close()


def test_a_stuck_node_costs_neither_other_nodes_nor_other_pools_and_comes_back() -> None:
    stuck = threading.Event()
    waiting = threading.Event()

    def script() -> list[Reply]:
        if threading.current_thread().name == "redis redis a:1" and not stuck.is_set():
            waiting.set()
            stuck.wait(5)
        return [b"PONG"]

    pools = pools_of(FakeNet(script))
    late = execute(pools, seconds=0)
    assert isinstance(late, Failed)
    assert late.kind == "timeout"
    first = pools.submit("redis", "a:1", PING, Deadline.after(5))
    assert waiting.wait(5)
    expired = pools.submit("redis", "a:1", PING, Deadline.after(0))
    assert replies(execute(pools, address="b:1")) == replies(execute(pools, pool="bullmq")) == [b"PONG"]
    assert not first.future.done()
    assert isinstance(expired.outcome_now(), Failed)
    stuck.set()
    assert replies(first.outcome()) == [b"PONG"]
    assert expired.future.result(5) == Failed(
        "timeout", "still waiting for an earlier reply", expired.future.result().took
    )
    assert replies(execute(pools)) == [b"PONG"]
    pools.close()


def test_connections_to_removed_nodes_are_closed() -> None:
    net = FakeNet(lambda: [b"PONG"])
    pools = pools_of(net)
    execute(pools, address="a:1")
    execute(pools, address="b:1")
    threads = {thread.name: thread for thread in threading.enumerate()}
    pools.keep_only(frozenset({"b:1"}))
    threads["redis redis a:1"].join(5)
    assert [connection.closed for connection in net.connections] == [True, False]
    pools.close()
    threads["redis redis b:1"].join(5)
    assert [connection.closed for connection in net.connections] == [True, True]
    closed = execute(pools)
    assert isinstance(closed, Failed)
    assert closed.message == "shutting down"


@pytest.mark.parametrize("kind", ["auth", "tls", "unreachable"])
def test_why_there_is_no_connection_is_passed_on(kind: str) -> None:
    def connect(address: str, deadline: Deadline) -> FakeConnection:
        raise UnreadableError(kind, f"no {kind} to {address}")

    pools = ConnectionPools(connect)  # type: ignore[arg-type]
    failed = execute(pools)
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.message) == (kind, f"no {kind} to a:1")
    pools.close()


def test_a_renewed_connection_is_made_again_before_the_next_request() -> None:
    net = FakeNet(lambda: [b"PONG"])
    pools = pools_of(net)
    for pool in ("redis", "bullmq"):
        execute(pools, pool=pool)
        execute(pools, pool=pool, address="b:1")
    pools.renew("a:1")
    assert [connection.closed for connection in net.connections] == [False] * 4
    for _ in range(2):
        for pool in ("redis", "bullmq"):
            execute(pools, pool=pool)
            execute(pools, pool=pool, address="b:1")
    assert len(net.connections) == 6
    assert sum(connection.closed for connection in net.connections) == 2
    pools.close()


def test_a_request_that_runs_keeps_its_connection() -> None:
    running, go_on = threading.Event(), threading.Event()

    def script() -> list[Reply]:
        running.set()
        assert go_on.wait(10)
        return [b"PONG"]

    net = FakeNet(script)
    pools = pools_of(net)
    pending = pools.submit("redis", "a:1", PING, Deadline.after(10))
    assert running.wait(10)
    pools.renew("a:1")
    assert not net.connections[0].closed
    go_on.set()
    assert replies(pending.outcome()) == [b"PONG"]
    execute(pools)
    assert len(net.connections) == 2
    pools.close()


@pytest.mark.fault
def test_a_node_without_room_for_its_thread_has_failed_at_once_and_is_read_when_there_is() -> None:
    pools = pools_of(FakeNet(lambda: [b"PONG"]))
    with no_threads():
        for _ in range(2):
            outcome = execute(pools)
            assert isinstance(outcome, Failed)
            assert "no room for another thread" in outcome.message
    assert replies(execute(pools)) == [b"PONG"]
    pools.close()


@pytest.mark.fault
def test_a_thread_that_ended_is_replaced_at_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does that finds no memory even to report that."""
    ended = threading.Event()
    monkeypatch.setattr("threading.excepthook", lambda _: ended.set())

    def fails() -> list[Reply]:
        raise SystemExit

    net = FakeNet(fails)
    pools = pools_of(net)
    assert isinstance(execute(pools, seconds=0.2), Failed)
    for thread in threading.enumerate():
        if thread.name == "redis redis a:1":
            thread.join(10)
    net.script = lambda: [b"PONG"]
    for connection in net.connections:
        connection.script = net.script
    assert replies(execute(pools)) == [b"PONG"]
    pools.close()
