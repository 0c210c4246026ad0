"""A master, its replicas, and the Sentinels that monitor them, on loopback."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from lab.deadline import wait_until
from lab.redis import RedisServer, launch_redis


class SentinelSet:
    """`servers` (the first was the master at the start) and `sentinels`."""

    def __init__(
        self, servers: list[RedisServer], sentinels: list[RedisServer], *, name: str, password: str | None
    ) -> None:
        self.servers = servers
        self.sentinels = sentinels
        self.name = name
        self.password = password

    @property
    def sentinel_addresses(self) -> list[str]:
        return [sentinel.address for sentinel in self.sentinels]

    def master(self) -> RedisServer:
        """The current master according to the first Sentinel that runs."""
        queried = next(sentinel for sentinel in self.sentinels if sentinel.answers)
        _host, port = queried.cli("sentinel", "get-master-addr-by-name", self.name).split()
        return next(server for server in self.servers if server.port == int(port))

    def replicas(self) -> list[RedisServer]:
        """All servers except the master."""
        master = self.master()
        return [server for server in self.servers if server is not master]

    def switches(self) -> int:
        """The number of failovers, from the Sentinel log that has the most."""
        logs = ((sentinel.directory / "redis.log").read_text() for sentinel in self.sentinels)
        return max(log.count("+switch-master") for log in logs)

    def fail_over(self) -> RedisServer:
        """Let a Sentinel promote a replica of a healthy master; the new master, once it reports its role."""
        before = self.master()
        self.sentinels[0].cli("sentinel", "failover", self.name)
        return self.wait_for_new_master(before)

    def wait_for_new_master(self, before: RedisServer, *, seconds: float = 20.0) -> RedisServer:
        """Wait until the Sentinels report a master other than `before`, and it reports its role."""

        def promoted() -> RedisServer | None:
            master = self.master()
            if master is before or master.facts("info", "replication")["role"] != "master":
                return None
            return master

        master = wait_until(
            promoted, what=f"the Sentinels report a master other than {before.address}", seconds=seconds
        )
        assert master is not None
        return master

    def close(self) -> None:
        """Stop the Sentinels, then the servers, and remove their directories."""
        for server in (*self.sentinels, *self.servers):
            server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def start_sentinel_set(
    *,
    replicas: int = 2,
    sentinels: int = 3,
    name: str = "mymaster",
    password: str | None = None,
    sentinel_password: str | None = None,
    down_after_ms: int = 1000,
    config: Sequence[str] = (),
) -> SentinelSet:
    """Start it and wait until every Sentinel knows every replica and every other Sentinel: about 3 s.

    `password` and `config` lines are for the servers, `sentinel_password` is for the Sentinels.
    """
    with ExitStack() as undo:
        master = undo.enter_context(launch_redis(config=config, password=password))
        replica_config = [*config, f"replicaof {master.host} {master.port}"]
        followers = [
            undo.enter_context(launch_redis(config=replica_config, password=password))
            for _ in range(replicas)
        ]
        servers = [master, *followers]
        for server in servers:
            server.wait()
        # A Sentinel queries the master for its replicas at start, and then only every 10 s.
        wait_until(
            lambda: master.facts("info", "replication")["connected_slaves"] == str(replicas),
            what="the replicas are linked to their master",
        )
        watch_config = [
            f"sentinel monitor {name} {master.host} {master.port} {sentinels // 2 + 1}",
            f"sentinel down-after-milliseconds {name} {down_after_ms}",
            f"sentinel failover-timeout {name} 5000",
            *([] if password is None else [f"sentinel auth-pass {name} {password}"]),
            *([] if sentinel_password is None else [f"sentinel sentinel-pass {sentinel_password}"]),
        ]
        sentinel_servers = [
            undo.enter_context(launch_redis(config=watch_config, password=sentinel_password, sentinel=True))
            for _ in range(sentinels)
        ]
        for sentinel in sentinel_servers:
            sentinel.wait()
        formed = SentinelSet(servers, sentinel_servers, name=name, password=password)
        wait_until(
            lambda: all(
                _has_discovered(sentinel, name, replicas, sentinels - 1) for sentinel in sentinel_servers
            ),
            what=f"each of {sentinels} Sentinels knows {replicas} replicas and the other Sentinels",
            seconds=20,
            every=0.05,
        )
        undo.pop_all()
    return formed


def _has_discovered(sentinel: RedisServer, name: str, replicas: int, others: int) -> bool:
    reply = sentinel.cli("sentinel", "master", name).split("\n")
    facts = dict(zip(reply[::2], reply[1::2], strict=False))
    return facts["num-slaves"] == str(replicas) and facts["num-other-sentinels"] == str(others)
