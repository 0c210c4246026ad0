"""A fake Redis server with event streams, and a follower of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from exporter.bullmq.streams.follow import Follower
from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot.queues import Events, QueueId
from service.clock import now
from tests.support.key_servers import Clock

MAIL = QueueId("bull", "mail")

OTHER = QueueId("bull", "other")


@dataclass
class Streams:
    """A server that holds event streams, and lengths of the other keys; `counts` as Redis 7 does."""

    counts: bool = True
    entries: dict[str, list[tuple[int, int, list[bytes]]]] = field(default_factory=dict)
    added: dict[str, int] = field(default_factory=dict)
    last: dict[str, tuple[int, int]] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    active: dict[str, list[Reply]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    info: str = "redis_mode:standalone\r\nrole:master\r\n"
    nodes: str = ""
    measured: bool = True
    ahead: float = 0.0  # seconds that the clock is ahead of the exporter's
    time_ms: int | None = None  # what the clock shows; None: it runs
    max_length: bytes | None = None

    def memory(self, key: str) -> Reply:
        if not self.measured:
            return ReplyError("NOPERM no MEMORY")
        entries = self.entries.get(key)
        return None if entries is None else 100 + sum(len(text) for entry in entries for text in entry[2])

    def add(self, ms: int, *events: str, queue: str = "mail", trim: int = 0) -> None:
        """`active 7 prev=waiting`, all in one ms; with `trim`, only so many are kept."""
        key = f"bull:{queue}:events"
        for event in events:
            name, job, *rest = event.split()
            fields = ["event", name, "jobId", job, *(word for pair in rest for word in pair.split("="))]
            last = self.last.get(key, (0, -1))
            number = last[1] + 1 if last[0] == ms else 0
            self.last[key] = (ms, number)
            self.entries.setdefault(key, []).append((ms, number, [text.encode() for text in fields]))
            self.added[key] = self.added.get(key, 0) + 1
        if trim:
            del self.entries[key][:-trim]

    def __call__(self, command: tuple[str, ...]) -> Reply:
        verb, *rest = command
        match verb:
            case "INFO":
                return self.info.encode()
            case "CLUSTER":
                return self.nodes.encode() or ReplyError("ERR cluster support disabled")
            case "XINFO":
                return self.xinfo(rest[1])
            case "MEMORY":
                return self.memory(rest[1])
            case "TIME":
                if verb in self.refused:
                    return ReplyError(self.refused[verb])
                ms = int(now() + self.ahead) * 1000 if self.time_ms is None else self.time_ms
                return [b"%d" % (ms // 1000), b"%d" % (ms % 1000 * 1000)]
            case "HMGET":
                return [self.max_length]
            case "XREAD":
                keys = rest[3 : 3 + (len(rest) - 3) // 2]
                return self.xread(int(rest[1]), keys, rest[3 + len(keys) :])
            case "XLEN":
                return len(self.entries.get(rest[0], ()))
            case "LRANGE":
                return self.active.get(rest[0], [])
            case "LLEN" | "ZCARD":
                return self.lengths.get(rest[0], 1)
        return ReplyError("ERR unknown command")

    def xinfo(self, key: str) -> Reply:
        if key in self.refused:
            return ReplyError(self.refused[key])
        if key not in self.entries:
            return ReplyError("ERR no such key")
        entries = self.entries[key]
        fields: list[Reply] = [b"length", len(entries), b"last-generated-id", b"%d-%d" % self.last[key]]
        fields += [b"first-entry", _entry(entries[0]) if entries else None]
        return [*fields, b"entries-added", self.added[key]] if self.counts else fields

    def xread(self, count: int, keys: list[str], after: list[str]) -> Reply:
        streams: list[Reply] = []
        for key, last in zip(keys, after, strict=True):
            if key in self.refused:
                return ReplyError(self.refused[key])
            ms, number = map(int, last.split("-"))
            new = [_entry(entry) for entry in self.entries.get(key, []) if entry[:2] > (ms, number)]
            if new:
                streams.append([key.encode(), list(new[:count])])
        return streams or None


def _entry(entry: tuple[int, int, list[bytes]]) -> Reply:
    return [b"%d-%d" % entry[:2], list(entry[2])]


@dataclass
class SteppedFollower:
    """A follower with a fake clock."""

    follower: Follower
    clock: Clock

    def round(self, *queues: QueueId, seconds: float = 2.0) -> float:
        """One round after `seconds`, so that a busy stream is checked in each."""
        self.clock.now += seconds
        return self.follower.step(queues or (MAIL,))

    def events(self, *queues: QueueId, queue: QueueId = MAIL, seconds: float = 2.0) -> Events:
        self.round(*queues, seconds=seconds)
        return self.follower.events()[queue]


def roll_back(server: Streams, entries: int) -> None:
    """Remove the newest entries, as if they had never been written."""
    del server.entries["bull:mail:events"][-entries:]
    ms, number, _ = server.entries["bull:mail:events"][-1]
    server.last["bull:mail:events"] = (ms, number)
    server.added["bull:mail:events"] -= entries
