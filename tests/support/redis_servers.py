"""Fake servers as tables: the server at each host:port, and its reply to each command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import hiredis

from exporter.redis.connect import ConnectionOptions
from exporter.redis.protocol import Reply, ReplyError, Request
from service.clock import Deadline
from service.outcome import UnreadableError

Server = Callable[[tuple[str, ...]], Reply]


@dataclass
class World:
    """`servers` by host:port; other addresses refuse connections. `commands` and `options` are recorded."""

    servers: dict[str, Server] = field(default_factory=dict)
    commands: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    options: dict[str, ConnectionOptions] = field(default_factory=dict)

    def open_connection(
        self, host: str, port: int, options: ConnectionOptions, deadline: Deadline
    ) -> _FakeConnection:
        address = f"{host}:{port}"
        self.options[address] = options
        if address not in self.servers:
            raise UnreadableError("unreachable", "connection refused")
        return _FakeConnection(self, address)


@dataclass
class _FakeConnection:
    world: World
    address: str

    def exchange(self, request: Request, deadline: Deadline) -> list[Reply]:
        reader = hiredis.Reader(encoding="utf-8")
        reader.feed(request.packed)
        commands = [tuple(reader.gets()) for _ in range(request.replies)]
        self.world.commands += [(self.address, command) for command in commands]
        server = self.world.servers.get(self.address)
        if server is None:
            raise UnreadableError("unreachable", "connection lost")
        return [server(command) for command in commands]

    def close(self) -> None:
        pass


def answering(info: str, **replies: Reply) -> Server:
    """A server with this INFO; other commands by their words joined with `_`; unknown commands are errors."""

    def server(command: tuple[str, ...]) -> Reply:
        if command[0] == "INFO":
            return info.encode() if len(command) == 1 else b"# Commandstats\r\ncmdstat_get:calls=2,usec=4\r\n"
        return replies.get("_".join(command).lower(), ReplyError(f"ERR unknown command '{command[0]}'"))

    return server
