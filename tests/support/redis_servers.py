"""Servers that exist only as tables: what stands at host:port, and what it answers to a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import hiredis

from exporter.redis.connect import Access
from exporter.redis.protocol import Reply, ReplyError, Request
from service.clock import Deadline
from service.outcome import UnreadableError

Server = Callable[[tuple[str, ...]], Reply]


@dataclass
class World:
    """`servers` by host:port; who is not in it refuses the connection. `asked` and `access` are records."""

    servers: dict[str, Server] = field(default_factory=dict)
    asked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    access: dict[str, Access] = field(default_factory=dict)

    def open_connection(self, host: str, port: int, access: Access, deadline: Deadline) -> _Link:
        where = f"{host}:{port}"
        self.access[where] = access
        if where not in self.servers:
            raise UnreadableError("unreachable", "connection refused")
        return _Link(self, where)


@dataclass
class _Link:
    world: World
    where: str

    def exchange(self, asked: Request, deadline: Deadline) -> list[Reply]:
        reader = hiredis.Reader(encoding="utf-8")
        reader.feed(asked.packed)
        commands = [tuple(reader.gets()) for _ in range(asked.replies)]
        self.world.asked += [(self.where, command) for command in commands]
        server = self.world.servers.get(self.where)
        if server is None:
            raise UnreadableError("unreachable", "connection lost")
        return [server(command) for command in commands]

    def close(self) -> None:
        pass


def answering(info: str, **replies: Reply) -> Server:
    """A server with this INFO; other commands by their words joined with `_`, unknown ones refused."""

    def server(command: tuple[str, ...]) -> Reply:
        if command[0] == "INFO":
            return info.encode() if len(command) == 1 else b"# Commandstats\r\ncmdstat_get:calls=2,usec=4\r\n"
        return replies.get("_".join(command).lower(), ReplyError(f"ERR unknown command '{command[0]}'"))

    return server
