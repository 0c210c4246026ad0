from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from exporter.bullmq import follow
from exporter.bullmq.follow import Follower, _Round
from exporter.redis.protocol import Reply, ReplyError
from exporter.settings import BullMQSettings
from exporter.snapshot import Events, QueueId
from service.outcome import Failed
from tests.support.redis_servers import World
from tests.unit.exporter.bullmq.conftest import CACHE, Clock, DeploymentOf

MAIL = QueueId("bull", "mail")
OTHER = QueueId("bull", "other")
NEW = 2_000_000_000_000  # ms, after any test began


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

    def add(self, ms: int, *events: str, queue: str = "mail", trim: int = 0) -> None:
        """`active 7 prev=waiting`, all in one ms; with `trim`, only so many are kept."""
        key = f"bull:{queue}:events"
        for event in events:
            name, job, *rest = event.split()
            fields = ["event", name, "jobId", job, *(word for pair in rest for word in pair.split("="))]
            last = self.last.get(key, (0, -1))
            number = last[1] + 1 if last[0] == ms else 0
            self.last[key] = (ms, number)
            self.entries.setdefault(key, []).append((ms, number, [one.encode() for one in fields]))
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
            case "XREAD":
                keys = rest[3 : 3 + (len(rest) - 3) // 2]
                return self.xread(int(rest[1]), keys, rest[3 + len(keys) :])
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
        kept = self.entries[key]
        facts: list[Reply] = [b"length", len(kept), b"last-generated-id", b"%d-%d" % self.last[key]]
        facts += [b"first-entry", _entry(kept[0]) if kept else None]
        return [*facts, b"entries-added", self.added[key]] if self.counts else facts

    def xread(self, most: int, keys: list[str], after: list[str]) -> Reply:
        found: list[Reply] = []
        for key, last in zip(keys, after, strict=True):
            if key in self.refused:
                return ReplyError(self.refused[key])
            ms, number = map(int, last.split("-"))
            new = [_entry(one) for one in self.entries.get(key, []) if one[:2] > (ms, number)]
            if new:
                found.append([key.encode(), list(new[:most])])
        return found or None


def _entry(one: tuple[int, int, list[bytes]]) -> Reply:
    return [b"%d-%d" % one[:2], list(one[2])]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(follow, "monotonic", made)
    return made


@pytest.fixture
def server(world: World) -> Streams:
    world.servers[CACHE] = made = Streams()
    return made


Following = Callable[..., "One"]


@dataclass
class One:
    """A follower and the time that it goes by."""

    follower: Follower
    clock: Clock

    def round(self, *queues: QueueId, seconds: float = 2.0) -> float:
        """One round, that much later: so that a busy stream is checked in each."""
        self.clock.now += seconds
        return self.follower.step(queues or (MAIL,))

    def events(self, *queues: QueueId, queue: QueueId = MAIL, seconds: float = 2.0) -> Events:
        self.round(*queues, seconds=seconds)
        return self.follower.events()[queue]


@pytest.fixture
def one(server: Streams, connect: DeploymentOf, clock: Clock) -> One:
    return One(Follower(connect(url=f"redis://{CACHE}"), BullMQSettings()), clock)


def test_begins_at_the_end_of_what_was_there(server: Streams, one: One) -> None:
    server.add(1000, "added 1", "waiting 1")
    server.active["bull:mail:active"] = [b"7"]
    one.round()
    assert one.events()[1:3] == (0, 0)
    server.add(2000, "waiting 2", "delayed 7 delay=9")
    found = one.events()
    assert (found.read, found.lost, found.tallies.retried, found.tallies.added) == (2, 0, 1, 0)


def test_a_stream_that_began_later_is_read_whole(server: Streams, one: One) -> None:
    server.add(NEW, "added 1", "waiting 1")
    one.round()
    assert one.events().tallies.added == 1
    server.add(NEW, "added 1", queue="other")
    server.add(NEW, "added 2", queue="other", trim=1)
    one.round(MAIL, OTHER)
    assert one.events(MAIL, OTHER, queue=OTHER).read == 0


def test_a_queue_without_a_stream_yet(server: Streams, one: One) -> None:
    one.round()
    assert one.events().read == 0
    server.add(1000, "added 1", "waiting 1", "added 2")
    assert one.events().tallies.added == 2


def test_what_was_trimmed_unread(server: Streams, one: One) -> None:
    one.round()
    server.add(1000, *["added 1"] * 20, trim=5)
    one.round()
    one.round()
    found = one.events()
    assert (found.read, found.lost) == (5, 15)
    assert one.events().lost == 15


def test_before_redis_7_at_least_so_many_were(server: Streams, one: One) -> None:
    server.counts = False
    server.add(1000, "added 1")
    one.round()
    server.add(2000, "added 2", "added 3", "added 4", trim=1)
    assert one.events()[1:3] == (1, 2)
    server.add(2000, "added 5", "added 6", trim=1)
    assert one.events()[1:3] == (2, 3)
    server.add(3000, "added 7")
    assert one.events()[1:3] == (3, 3)


def test_after_a_loss_only_what_is_certain_has_a_duration(server: Streams, one: One) -> None:
    one.round()
    server.add(1000, "added 1", "waiting 1")
    one.round()
    server.add(2000, "active 1", "waiting 2", "waiting 1 prev=active", trim=1)
    server.active["bull:mail:active"] = [b"9"]
    one.round()
    assert one.events().lost == 2
    server.add(5000, "delayed 9 delay=1", "active 1")
    found = one.events().tallies
    assert (found.retried, found.started, sum(found.wait.counts)) == (2, 1, 0)


def test_more_is_read_at_once(server: Streams, one: One, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_BATCH", 10)
    one.round()
    next(iter(one.follower._readers.values())).batch = 10
    one.round()
    server.add(1000, *["added 1"] * 25)
    assert [one.round(), one.round()] == [0.0, 0.0]
    assert one.round() > 0
    assert one.events().read == 25


def test_the_busier_and_the_shorter_a_stream_the_sooner_it_is_read_again(server: Streams, one: One) -> None:
    one.round()
    assert 0.25 <= one.round() <= 1.0
    server.add(1000, *["added 1"] * 900, trim=200)
    assert one.round() <= 1.0
    server.add(2000, *["added 1"] * 900, trim=200)
    assert one.round(seconds=0.25) == 0.1


def test_what_is_new_is_read_once_after_a_node_was_silent(world: World, server: Streams, one: One) -> None:
    one.round()
    server.add(1000, "added 1")
    assert one.events().read == 1
    one.round(seconds=0)
    gone = world.servers.pop(CACHE)
    assert 0 < one.round() <= 1.0
    assert one.follower.events()[MAIL].lag == pytest.approx(2.0)
    world.servers[CACHE] = gone
    server.add(2000, "added 2")
    found = one.events()
    assert (found.read, found.tallies.added, found.lag) == (2, 2, 0.0)


def test_an_answer_that_comes_too_late_is_asked_for_in_smaller_parts(
    world: World, server: Streams, one: One, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.round()
    monkeypatch.setattr(
        one.follower._deployment,
        "execute",
        lambda asked, *_, **__: dict.fromkeys(asked, Failed("timeout", "")),
    )
    for _ in range(5):
        one.round(seconds=11)
    assert [reader.batch for reader in one.follower._readers.values()] == [62]


def test_a_stream_that_vanishes_and_comes_again(server: Streams, one: One) -> None:
    one.round()
    server.add(1000, "added 1", "waiting 1")
    one.round()
    for kept in (server.entries, server.added, server.last):
        kept.clear()
    one.round(seconds=20)
    server.add(2000, "added 1", "waiting 1", "active 1")
    one.round()
    found = one.events()
    assert (found.read, found.lost, found.tallies.added) == (5, 0, 2)


def test_ids_that_went_back_are_followed_from_their_end(server: Streams, one: One) -> None:
    one.round()
    server.add(5000, "added 1")
    one.round()
    for kept in (server.entries, server.added, server.last):
        kept.clear()
    server.add(4000, "added 2")
    one.round(seconds=20)
    server.add(4500, "added 3")
    one.round()
    found = one.events()
    assert (found.read, found.lost) == (2, 0)


def test_jobs_that_went_without_an_event_are_forgotten(server: Streams, one: One) -> None:
    one.round()
    server.add(1000, "waiting 1", "active 2")
    one.round()
    server.lengths |= dict.fromkeys((f"bull:mail:{key}" for key in ("wait", "paused", "prioritized")), 0)
    server.add(2000, "waiting 3")
    one.round()
    assert one.follower._streams[MAIL].jobs.remembered == 2
    assert one.events().tallies.evicted == 1


def test_all_queues_together_have_a_bound(server: Streams, one: One, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_MOST_IN_ALL", 20)
    one.round(MAIL, OTHER)
    server.add(1000, *[f"waiting {n}" for n in range(30)])
    server.add(1000, "waiting 1", queue="other")
    found = one.events(MAIL, OTHER)
    assert found.tallies.evicted >= 11
    assert one.follower._streams[OTHER].jobs.remembered == 1


def test_one_key_that_is_no_stream_costs_the_others_nothing(server: Streams, one: One) -> None:
    one.round(MAIL, OTHER)
    server.refused["bull:other:events"] = "WRONGTYPE no stream"
    server.add(1000, "added 1")
    one.round(MAIL, OTHER)
    assert one.events(MAIL, OTHER).read == 1


def test_queues_that_are_gone_are_forgotten(server: Streams, one: One) -> None:
    server.add(1000, "added 1", queue="other")
    one.round(MAIL, OTHER)
    one.round(OTHER)
    assert list(one.follower.events()) == [OTHER]


def test_a_queue_whose_stream_may_not_be_read_is_not_told(server: Streams, one: One) -> None:
    server.refused["bull:mail:events"] = "NOPERM no"
    one.round()
    assert one.follower.events() == {}
    assert one.follower.problems() == ("event streams: NOPERM no",)
    server.refused.clear()
    one.round(seconds=5)
    assert one.follower.events() == {}
    one.round(seconds=20)
    assert (list(one.follower.events()), one.follower.problems()) == ([MAIL], ())


def test_a_slot_that_moves_is_followed_and_nothing_counts_twice(
    world: World, connect: DeploymentOf, clock: Clock
) -> None:
    first, second = Streams(), Streams()
    nodes = {"10.0.0.1:7001": first, "10.0.0.2:7002": second}
    world.servers.update(nodes)

    def share(spans: dict[str, str]) -> None:
        for own, server in nodes.items():
            server.info = "redis_mode:cluster\r\nrole:master\r\n"
            server.nodes = "\n".join(
                f"{address} {address}@1 {'myself,' if address == own else ''}master - 0 0 1 connected {span}"
                for address, span in spans.items()
            )

    tagged = QueueId("bull", "{mail}")
    share({"10.0.0.1:7001": "0-16383", "10.0.0.2:7002": ""})
    one = One(Follower(connect(cluster=["10.0.0.1:7001"]), BullMQSettings()), clock)
    one.round(tagged)
    first.add(1000, "added 1", "waiting 1", queue="{mail}")
    assert one.events(tagged, queue=tagged).tallies.added == 1
    second.entries, second.added, second.last = first.entries, first.added, first.last
    first.refused["bull:{mail}:events"] = "MOVED 1 10.0.0.2:7002"
    share({"10.0.0.1:7001": "", "10.0.0.2:7002": "0-16383"})
    second.add(2000, "added 2", queue="{mail}")
    one.round(tagged)
    found = one.events(tagged, queue=tagged)
    assert (found.tallies.added, found.read, found.lost) == (2, 3, 0)


def test_readers_of_two_nodes_never_count_one_entry_twice(server: Streams, one: One) -> None:
    one.round()
    server.add(1000, "added 1", "waiting 1")
    (reader,) = one.follower._readers.values()
    asked = _Round(reader.streams, 100, one.clock.now, whole=True)
    one.round()
    answer = [server(("XREAD", "COUNT", "100", "STREAMS", "bull:mail:events", "0-0"))]
    assert not reader._take(asked, [b"not looked at"] * (asked.request.replies - 1) + answer)
    assert one.events().read == 2


def failed_over(server: Streams, world: World, one: One) -> None:
    """The same queue at another address."""
    world.servers["other:6379"] = world.servers.pop(CACHE)
    (stream,) = one.follower._streams.values()
    stream.belongs_to("other:6379")
    world.servers[CACHE] = server


@pytest.mark.parametrize("later", [0, 3], ids=["nothing yet", "new events"])
def test_what_a_failover_undid_is_told(server: Streams, world: World, one: One, later: int) -> None:
    one.round()
    server.add(1000, "added 1", "waiting 1", "added 2", "waiting 2")
    assert one.events().read == 4
    del server.entries["bull:mail:events"][-2:]
    server.added["bull:mail:events"], server.last["bull:mail:events"] = 2, (1000, 1)
    failed_over(server, world, one)
    for n in range(later):
        server.add(5000 + n, f"added {n + 5}")
    found = one.events()
    assert (found.read, found.undone, found.lost) == (4 + later, 2, 0)
    server.add(9000, "added 9")
    found = one.events()
    assert (found.read, found.undone, found.lost) == (5 + later, 2, 0)


def test_a_stream_made_anew_on_the_same_node_undid_nothing(server: Streams, one: One) -> None:
    one.round()
    server.add(1000, "added 1", "waiting 1", "added 2", "waiting 2")
    one.round()
    server.entries.clear()
    server.added.clear()
    server.add(5000, "added 1")
    found = one.events()
    assert (found.read, found.undone, found.lost) == (5, 0, 0)


def roll_back(server: Streams, entries: int) -> None:
    """As if the newest had never been written."""
    del server.entries["bull:mail:events"][-entries:]
    ms, number, _ = server.entries["bull:mail:events"][-1]
    server.last["bull:mail:events"] = (ms, number)
    server.added["bull:mail:events"] -= entries


def test_what_a_restart_from_an_older_file_undid_is_told(server: Streams, one: One) -> None:
    one.round()
    server.add(1000, "added 1", "waiting 1", "added 2", "waiting 2")
    one.round()
    roll_back(server, 3)
    found = one.events(seconds=20)
    assert (found.read, found.undone, found.lost) == (4, 3, 0)
    server.add(5000, "added 3")
    assert one.events().undone == 3


def test_a_new_master_that_never_had_the_stream_undid_all(server: Streams, world: World, one: One) -> None:
    one.round()
    server.add(1000, "added 1", "waiting 1")
    assert one.events().read == 2
    for kept in (server.entries, server.added, server.last):
        kept.clear()
    failed_over(server, world, one)
    assert one.events().undone == 2
    server.add(5000, "added 2")
    found = one.events()
    assert (found.read, found.undone, found.lost) == (3, 2, 0)


def test_what_a_deposed_master_still_says_does_not_count(server: Streams, one: One) -> None:
    one.round()
    (reader,) = one.follower._readers.values()
    server.add(1000, "added 1")
    asked = _Round(reader.streams, 100, one.clock.now, whole=False)
    (stream,) = reader.streams
    stream.belongs_to("other:6379")
    key = "bull:mail:events"
    answers: list[Reply] = [ReplyError("ERR no such key")] * (asked.request.replies - 1)
    assert not reader._take(asked, [*answers, server.xread(100, [key], ["0-0"])])
    assert (stream.read, stream.jobs.tallies().added) == (0, 0)
