from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from exporter.redis.connect import ClosedError
from exporter.redis.pool import ConnectionPools
from exporter.redis.protocol import Reply, Request, request
from service.clock import Deadline
from service.outcome import Failed, Ok, Outcome, UnreadableError

PING = request([("PING",)])
Script = Callable[[], list[Reply]]


class FakeLink:
    """Answers what the script makes; raises what it raises."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.closed = False

    def exchange(self, asked: Request, deadline: Deadline) -> list[Reply]:
        return self.script()

    def close(self) -> None:
        self.closed = True


class FakeNet:
    """Opens links that all follow one script, and remembers them."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.links: list[FakeLink] = []

    def connect(self, address: str, deadline: Deadline) -> FakeLink:
        self.links.append(FakeLink(self.script))
        return self.links[-1]


def ask(
    pools: ConnectionPools, *, pool: str = "redis", address: str = "a:1", seconds: float = 5
) -> Outcome[list[Reply]]:
    return pools.submit(pool, address, PING, Deadline.after(seconds)).outcome()


def lanes_of(net: FakeNet) -> ConnectionPools:
    return ConnectionPools(net.connect)  # type: ignore[arg-type]


def replies(outcome: Outcome[list[Reply]]) -> list[Reply]:
    assert isinstance(outcome, Ok)
    return outcome.value


def test_one_connection_serves_a_lane_and_each_lane_has_its_own() -> None:
    net = FakeNet(lambda: [b"PONG"])
    pools = lanes_of(net)
    assert [replies(ask(pools)) for _ in range(3)] == [[b"PONG"]] * 3
    assert len(net.links) == 1
    ask(pools, pool="bullmq")
    ask(pools, address="b:1")
    assert len(net.links) == 3
    pools.close()


def test_a_failure_is_a_value_and_the_next_use_connects_anew() -> None:
    answers: list[UnreadableError | list[Reply]] = [
        UnreadableError("timeout", "no answer in time"),
        [b"PONG"],
    ]

    def script() -> list[Reply]:
        answer = answers.pop(0)
        if isinstance(answer, UnreadableError):
            raise answer
        return answer

    net = FakeNet(script)
    pools = lanes_of(net)
    failed = ask(pools)
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.message) == ("timeout", "no answer in time")
    assert net.links[0].closed
    assert replies(ask(pools)) == [b"PONG"]
    assert len(net.links) == 2
    pools.close()


def test_a_connection_that_the_server_closed_meanwhile_is_made_anew_at_once() -> None:
    answers: list[ClosedError | list[Reply]] = [[b"PONG"], ClosedError("gone"), [b"PONG"]]

    def script() -> list[Reply]:
        answer = answers.pop(0)
        if isinstance(answer, ClosedError):
            raise answer
        return answer

    net = FakeNet(script)
    pools = lanes_of(net)
    assert [replies(ask(pools)) for _ in range(2)] == [[b"PONG"]] * 2
    assert [link.closed for link in net.links] == [True, False]
    pools.close()


def test_a_new_connection_that_is_closed_is_not_tried_again() -> None:
    def script() -> list[Reply]:
        raise ClosedError("the server closed the connection")

    net = FakeNet(script)
    pools = lanes_of(net)
    assert isinstance(ask(pools), Failed)
    assert len(net.links) == 1
    pools.close()


def test_a_surprise_becomes_a_failure_and_the_lane_lives_on() -> None:
    answers: dict[str, Reply] = {"well": b"PONG"}

    def script() -> list[Reply]:
        return [answers["well"]] if net.links[1:] else [answers["secret"]]

    net = FakeNet(script)
    pools = lanes_of(net)
    failed = ask(pools)
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.message) == ("error", "KeyError while talking to the node")
    assert replies(ask(pools)) == [b"PONG"]
    pools.close()


def test_a_stuck_node_costs_neither_other_nodes_nor_other_lanes_and_comes_back() -> None:
    stuck = threading.Event()
    waiting = threading.Event()

    def script() -> list[Reply]:
        if threading.current_thread().name == "redis redis a:1" and not stuck.is_set():
            waiting.set()
            stuck.wait(5)
        return [b"PONG"]

    pools = lanes_of(FakeNet(script))
    late = ask(pools, seconds=0)
    assert isinstance(late, Failed)
    assert late.kind == "timeout"
    first = pools.submit("redis", "a:1", PING, Deadline.after(5))
    assert waiting.wait(5)
    expired = pools.submit("redis", "a:1", PING, Deadline.after(0))
    assert replies(ask(pools, address="b:1")) == replies(ask(pools, pool="bullmq")) == [b"PONG"]
    assert not first.future.done()
    assert isinstance(expired.outcome_now(), Failed)
    stuck.set()
    assert replies(first.outcome()) == [b"PONG"]
    assert expired.future.result(5) == Failed(
        "timeout", "still waiting for an earlier answer", expired.future.result().took
    )
    assert replies(ask(pools)) == [b"PONG"]
    pools.close()


def test_nodes_that_are_gone_are_let_go() -> None:
    net = FakeNet(lambda: [b"PONG"])
    pools = lanes_of(net)
    ask(pools, address="a:1")
    ask(pools, address="b:1")
    threads = {thread.name: thread for thread in threading.enumerate()}
    pools.keep_only(frozenset({"b:1"}))
    threads["redis redis a:1"].join(5)
    assert [link.closed for link in net.links] == [True, False]
    pools.close()
    threads["redis redis b:1"].join(5)
    assert [link.closed for link in net.links] == [True, True]
    closed = ask(pools)
    assert isinstance(closed, Failed)
    assert closed.message == "shutting down"


@pytest.mark.parametrize("kind", ["auth", "tls", "unreachable"])
def test_why_there_is_no_connection_is_passed_on(kind: str) -> None:
    def connect(address: str, deadline: Deadline) -> FakeLink:
        raise UnreadableError(kind, f"no {kind} to {address}")

    pools = ConnectionPools(connect)  # type: ignore[arg-type]
    failed = ask(pools)
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.message) == (kind, f"no {kind} to a:1")
    pools.close()
