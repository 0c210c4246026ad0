"""The whole reading of a Redis that answers as it should, but for every fourth time: then with some other
reply. What cannot be read must be unread, and the next collection possible."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

import hiredis

from exporter.bullmq.bull import follow
from exporter.bullmq.streams.protocol import bulk
from exporter.config.bullmq import BullMQSettings
from exporter.config.redis import RedisSettings
from exporter.redis import deployment as redis_deployment
from exporter.redis.collect import collect_redis
from exporter.redis.pool import NodeConnection, Pending
from exporter.redis.protocol import Reply, Request
from exporter.snapshot.queues import BullMQState
from exporter.snapshot.whole import Snapshot
from service.clock import Deadline
from service.outcome import Ok, UnreadableError
from tests.fuzz.inputs import REPLIES
from tests.fuzz.search import FIXTURES, Target
from tests.fuzz.shown import show
from tests.support.bullmq import Watch
from tests.support.event_streams import Streams
from tests.support.key_servers import CACHE, Keys

_INFO: Final = (
    (FIXTURES / "redis-7.2" / "info.txt").read_bytes().replace(b"_mode:cluster", b"_mode:standalone")
)
_OF_STREAMS: Final = frozenset({"XINFO", "XREAD", "XLEN", "MEMORY", "TIME"})
_EVERY: Final = 4
_REDIS: Final = RedisSettings(url=f"redis://{CACHE}")
_BULLMQ: Final = BullMQSettings(queues=("mail", "bills"), prefixes=("bull",))


class _Server:
    """Two queues, one of BullMQ and one of Bull, with jobs in each state."""

    def __init__(self, odd: list[Reply]) -> None:
        self._odd = odd
        self._asked = 0
        self._keys = Keys(clients=["bull:bWFpbA==", "bull:bills:w:one"], types={"bull:bills:wait": "list"})
        self._keys.hold("mail")
        self._keys.exist |= {f"bull:mail:{key}" for key in ("events", "wait", "active", "repeat")}
        self._keys.exist |= {f"bull:bills:{key}" for key in ("id", "wait", "stalled-check")}
        self._keys.lengths = {f"bull:{name}:{key}": 3 for name in ("mail", "bills") for key in _SETS}
        self._streams = Streams(time_ms=1_790_000_000_000)
        for ms, event in enumerate(("added 1", "waiting 1", "active 1 prev=waiting", "completed 1"), 1000):
            self._streams.add(ms, event)

    def __call__(self, command: tuple[str, ...]) -> Reply:
        self._asked += 1
        its_turn = self._odd and (self._asked + len(self._odd)) % _EVERY == 0
        if its_turn and command[0] not in {"AUTH", "CLIENT", "SELECT"}:
            return self._odd[self._asked // _EVERY % len(self._odd)]
        return self._usual(command)

    def _usual(self, command: tuple[str, ...]) -> Reply:
        match command:
            case (verb, *_) if verb in _OF_STREAMS:
                return self._streams(command)
            case ("INFO",):
                return _INFO
            case ("ZRANGE", key, *_):
                return [b"report" if key.endswith("repeat") else b"12", b"1790000000000"]
            case ("LINDEX", _, _):
                return b"12"
            case ("HSTRLEN", *_):
                return 20
            case ("HMGET", key, *fields) if key.count(":") > 2 or key.endswith(":12"):
                return [b"1789999990000"] * len(fields)
            case ("CONFIG", "GET", name):
                return [name.encode(), b"3600 1"]
            case ("ACL", "DRYRUN", *_):
                return b"OK"
            case ("GET", _):
                return b"44"
        return self._keys(command)


class _Connection:
    """To that server."""

    def __init__(self, server: _Server) -> None:
        self._server = server

    def exchange(self, request: Request, _: Deadline) -> list[Reply]:
        reader = hiredis.Reader(encoding="utf-8", errors="surrogateescape")
        reader.feed(request.packed)
        return [self._server(tuple(reader.gets())) for _ in range(request.replies)]

    def send(self, packed: bytes, deadline: Deadline) -> None:
        """A subscription, or a sign of life."""

    def receive(self, _: Deadline) -> bytes:
        return _PUSHED

    def close(self) -> None:
        """There is nothing to close."""


def _push(*parts: bytes | int) -> bytes:
    texts = [b":%d\r\n" % part if isinstance(part, int) else bulk(part) for part in parts]
    return b"*%d\r\n%b" % (len(parts), b"".join(texts))


_PUSHED: Final = b"".join(
    (
        *(_push(b"psubscribe", b"bull:*:%b@*" % kind, 1) for kind in (b"active", b"waiting", b"stalled")),
        *(_push(b"psubscribe", b"bull:*:%b@*" % kind, 1) for kind in (b"duplicated", b"debounced")),
        *(_push(b"subscribe", b"bull:bills:%b" % kind, 1) for kind in (b"completed", b"failed")),
        _push(b"pmessage", b"bull:*:active@*", b"bull:bills:active@token", b"7"),
        _push(b"message", b"bull:bills:completed", b'{"jobId":"7","val":"1"}'),
        _push(b"pong", b"1"),
    )
)


_SETS: Final = ("wait", "paused", "active", "delayed", "prioritized", "waiting-children", "failed", "repeat")


def _at_once(self: NodeConnection, request: Request, deadline: Deadline) -> Pending:
    """As the thread of a node does it, without one: to wait for threads took most of the time."""
    pending = Pending(request, deadline)
    pending.future.set_result(self._outcome(pending))
    return pending


@contextmanager
def answering(odd: list[Reply]) -> Iterator[None]:
    """Whoever connects to a Redis finds that server; `odd` are its other replies."""
    connection = _Connection(_Server(odd))
    with (
        patch.object(redis_deployment, "open_connection", lambda *_: connection),
        patch.object(NodeConnection, "submit", _at_once),
        patch.object(follow, "_READ_SECONDS", 0.0),  # what is published is there at once
    ):
        yield


def _monitor(replies: list[Reply]) -> None:
    with answering(replies):
        watch = Watch(_REDIS, _BULLMQ)
        try:
            for _ in range(2):
                _look(watch)
        finally:
            watch.close()


def _look(watch: Watch) -> None:
    queues = BullMQState((), {})
    found = None
    for read in (
        lambda: watch.discovery.discover_once(Deadline.after(5)),
        lambda: watch.schedulers.read(Deadline.after(5)),
        watch.follow,
    ):
        try:
            read()
        except UnreadableError:
            continue
    try:
        found = collect_redis(watch.deployment, Deadline.after(5))
        queues = watch.collect(5)
    except UnreadableError:
        pass
    redis = None if found is None else Ok(found, 0.01)
    show(Snapshot(1_790_000_000.0, redis=redis, bullmq=Ok(queues, 0.01)))


TARGETS_OF_MONITOR: Final = (
    Target(
        "monitor",
        REPLIES,
        _monitor,
        words=(b"MOVED 1 127.0.0.1:1", b"mail", b"bull:mail:events"),
        quick=300,  # 4 ms each
    ),
)
