"""Names that are looked up again, with a resolver and connections in memory."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from exporter.redis.connection.names import NameCheck
from exporter.redis.pool import ConnectionPools, OpenConnection
from exporter.redis.protocol import Reply, Request, pack_request
from service.clock import Deadline
from service.outcome import Ok

PING = pack_request([("PING",)])


class FakeConnection:
    def __init__(self, host: str, ip: str) -> None:
        self.host, self.ip = host, ip

    def exchange(self, request: Request, deadline: Deadline) -> list[Reply]:
        return [self.ip.encode()]

    def close(self) -> None:
        pass


class Net:
    """One name, what it leads to, and the connections that were made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: list[str] | None = ["10.0.0.1"]
        self.connected: list[str] = []
        self.pools = ConnectionPools(self.connect)  # type: ignore[arg-type]
        monkeypatch.setattr(socket, "getaddrinfo", self.getaddrinfo)

    def connect(self, address: str, deadline: Deadline) -> FakeConnection:
        host = address.rpartition(":")[0]
        self.connected.append(host)
        return FakeConnection(host, host if host[0].isdigit() else (self.addresses or ["none"])[0])

    def getaddrinfo(self, host: str, *_: Any, **__: Any) -> Any:
        if self.addresses is None:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0)) for ip in self.addresses]

    def read(self, address: str = "cache:6379", pool: str = "redis") -> bytes:
        outcome = self.pools.submit(pool, address, PING, Deadline.after(5)).outcome()
        assert isinstance(outcome, Ok)
        (reply,) = outcome.value
        assert isinstance(reply, bytes)
        return reply


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Net:
    return Net(monkeypatch)


@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["10.0.0.9", "10.0.0.1"], [], None])
def test_a_connection_stays_where_its_name_still_leads(net: Net, addresses: list[str] | None) -> None:
    net.read()
    net.addresses = addresses
    NameCheck(net.pools.peers, 60).check()
    assert net.read() == b"10.0.0.1"
    assert net.connected == ["cache"]


def test_every_pool_follows_a_name_and_addresses_are_not_looked_up(net: Net) -> None:
    for pool in ("redis", "bullmq"):
        net.read(pool=pool)
        net.read("10.0.0.7:6379", pool=pool)
    net.addresses = ["10.0.0.2"]
    NameCheck(net.pools.peers, 60).check()
    assert [net.read(pool=pool) for pool in ("redis", "bullmq")] == [b"10.0.0.2"] * 2
    assert net.read("10.0.0.7:6379") == b"10.0.0.7"
    assert net.connected.count("10.0.0.7") == 2


def test_a_resolver_that_hangs_delays_nobody_and_is_not_asked_twice() -> None:
    begun, hang, asked = threading.Event(), threading.Event(), []

    def peers() -> list[OpenConnection]:
        asked.append(1)
        begun.set()
        hang.wait(10)
        return []

    check = NameCheck(peers, 0.0)
    check.start_if_due()
    assert begun.wait(10)
    for _ in range(3):
        check.start_if_due()
    hang.set()
    assert len(asked) == 1


def test_before_its_time_nothing_is_looked_up(net: Net) -> None:
    net.read()
    net.addresses = ["10.0.0.2"]
    NameCheck(net.pools.peers, 3600).start_if_due()
    assert net.read() == b"10.0.0.1"
