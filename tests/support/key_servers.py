"""Fake Redis servers with keys, and a fake clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from exporter.bullmq.candidates import KEY_TYPES
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Reply, ReplyError

HALVES = {"10.0.0.1:7001": "0-8191", "10.0.0.2:7002": "8192-16383"}

CACHE = "cache:6379"

MARKS = ("version", "opts.maxLenEvents")

DeploymentOf = Callable[..., Deployment]


@dataclass
class Keys:
    """A server with key names, lists, hashes and clients; `refused` commands get NOPERM, and `unready`
    ones LOADING."""

    exist: set[str] = field(default_factory=set)
    lengths: dict[str, int] = field(default_factory=dict)
    clients: list[str] = field(default_factory=list)
    pages: list[list[str]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    unready: set[str] = field(default_factory=set)
    cluster_nodes: str = ""
    moved: set[str] = field(default_factory=set)
    replies: dict[tuple[str, ...], Reply] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    waiting: bool = True

    def __call__(self, command: tuple[str, ...]) -> Reply:
        verb, *rest = command
        if verb in self.refused:
            return ReplyError(f"NOPERM this user has no permissions to run the '{verb.lower()}' command")
        if verb in self.unready:
            return ReplyError("LOADING Redis is loading the dataset in memory")
        if len(rest) > 0 and any(rest[0].startswith(base) for base in self.moved):
            return ReplyError("MOVED 1 10.0.0.2:7002")
        if command in self.replies:
            return self.replies[command]
        match verb:
            case "INFO":
                mode = "cluster" if self.cluster_nodes else "standalone"
                return f"redis_mode:{mode}\r\nrole:master\r\n# Keyspace\r\n".encode()
            case "CLUSTER":
                return self.cluster_nodes.encode() or ReplyError("ERR cluster support disabled")
            case "PING":
                return b"PONG"
            case "CLIENT":
                sent = "bzpopmin" if self.waiting else "hmget"
                return "".join(f"id=1 name={name} age=0 cmd={sent}\n" for name in self.clients).encode()
            case "EXISTS":
                return sum(key in self.exist for key in rest)
            case "SCAN":
                return self.page(int(rest[0]))
            case "LLEN":
                return self.lengths.get(rest[0], 0)
            case "HMGET" if rest[0] in self.exist and tuple(rest[1:]) == MARKS:
                return [b"bullmq:6.7.0", b"10000"]
            case "TYPE":
                return self.type_of(rest[0]).encode()
            case "LRANGE":
                return []
            case "HMGET":
                return [None] * (len(rest) - 1)
            case "ZCARD" | "ZCOUNT":
                return 0
            case "PTTL":
                return -2
        return None

    def type_of(self, key: str) -> str:
        """That of a queue's key, unless `types` has another."""
        if key not in self.exist:
            return "none"
        return self.types.get(key) or KEY_TYPES.get(key.rpartition(":")[2], "string")

    def page(self, cursor: int) -> Reply:
        """`pages` in turn, or all existing keys at once."""
        if not self.pages:
            return [b"0", [key.encode() for key in sorted(self.exist)]]
        following = (cursor + 1) % len(self.pages)
        return [b"%d" % following, [key.encode() for key in self.pages[cursor]]]

    def hold(self, *queues: str, prefix: str = "bull") -> None:
        """Add queues, with the keys by which they are discovered."""
        self.exist |= {f"{prefix}:{name}:{key}" for name in queues for key in ("meta", "id")}


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def share_slots(servers: dict[str, Keys], slots: dict[str, str]) -> None:
    """Make all servers report these nodes as the owners of these slots."""
    for own, server in servers.items():
        server.cluster_nodes = "\n".join(
            f"{address} {address}@1 {'myself,' if address == own else ''}master - 0 0 1 connected {span}"
            for address, span in slots.items()
        )
