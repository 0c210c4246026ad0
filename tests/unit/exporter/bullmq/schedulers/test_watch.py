from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from exporter.bullmq.discover import Discovery
from exporter.bullmq.schedulers import round as round_of_requests
from exporter.bullmq.schedulers import watch
from exporter.bullmq.schedulers.watch import SchedulerWatch
from exporter.bullmq.search.known import KnownQueues
from exporter.config.bullmq import BullMQSettings
from exporter.redis.deployment import Deployment
from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot.queues import OwnCounts, QueueId
from exporter.snapshot.schedulers import QueueSchedulers
from service.clock import Deadline
from service.outcome import UnreadableError
from tests.support.key_servers import CACHE, HALVES, DeploymentOf, Keys
from tests.support.redis_servers import World

MAIL = QueueId("bull", "mail")
NEXT = b"4000000000000"
WatchWith = Callable[..., SchedulerWatch]


class Repeating:
    """A server with queues that have so many schedulers each, all with an interval and a next job."""

    def __init__(self, keys: Keys, **sizes: int) -> None:
        self.keys = keys
        self.sizes = {f"bull:{name}:repeat": size for name, size in sizes.items()}
        self.without_job = False
        self.refused: frozenset[str] = frozenset()
        self.paused: bytes | None = None
        self.due = 1
        self.lengths: dict[str, Reply] = {}

    def __call__(self, command: tuple[str, ...]) -> Reply:
        verb, key, *rest = (*command, "")
        if key in self.refused:
            return ReplyError("NOPERM no")
        if verb == "ZCARD" and key in self.sizes:
            return self.sizes[key]
        if verb == "ZRANGE":
            size = min(self.sizes[key], int(rest[1]) + 1)
            return [part for at in range(size) for part in (f"s{at:05}".encode(), NEXT)]
        if verb == "HMGET" and key.endswith(":meta"):
            return [self.paused, None, None, b"bullmq:6.7.0"]
        if verb == "HMGET" and rest[0] == "name":
            return [b"job", b"60000", None, None, None, None, None, b"1"]
        if verb == "HMGET" and rest[0] == "timestamp":
            return [None if self.without_job else b"1", None, None]
        if verb == "HMGET" and rest[0] == "opts":
            return [b'{"delay":3999999999999,"repeat":{"count":1}}']
        if verb == "HMGET" and rest[0] == "data":
            return [key.encode()]
        if verb == "HSTRLEN":
            return 30
        if verb == "ZCOUNT":
            return self.due
        if verb in ("LLEN", "ZCARD"):
            return self.lengths.get(key, 0)
        return self.keys(command)


@pytest.fixture
def watching(connect: DeploymentOf) -> WatchWith:
    def make(
        queues: list[str], address: dict[str, object] | None = None, **settings: object
    ) -> SchedulerWatch:
        bullmq = BullMQSettings.model_validate(
            {"queues": queues, "prefixes": ["bull"], "schedulers": settings}
        )
        deployment: Deployment = connect(**(address or {"url": "redis://cache"}))
        return SchedulerWatch(deployment, Discovery(deployment, bullmq), bullmq.schedulers)

    return make


def serve(world: World, cache: Keys, **sizes: int) -> Repeating:
    server = world.servers[CACHE] = Repeating(cache, **sizes)
    return server


def read(schedulers: SchedulerWatch) -> dict[QueueId, QueueSchedulers]:
    schedulers.read(Deadline.after(25))
    return schedulers.schedulers()


def sent(world: World, verb: str) -> int:
    return sum(command[0] == verb for _, command in world.commands)


def test_queues_without_schedulers_cost_one_command(cache: Keys, world: World, watching: WatchWith) -> None:
    names = [f"queue{at}" for at in range(50)]
    serve(world, cache, **dict.fromkeys(names, 0), mail=2)
    schedulers = watching([*names, "mail"])
    world.commands.clear()
    assert {queue: len(each.schedulers) for queue, each in read(schedulers).items()} == {MAIL: 2}
    assert sent(world, "ZCARD") == 51 + 6  # and those of the counts of the one
    assert sent(world, "ZRANGE") == 1


def test_only_those_that_run_next_are_read(cache: Keys, world: World, watching: WatchWith) -> None:
    serve(world, cache, mail=30, other=3)
    schedulers = watching(["mail", "other"], per_queue=20, series_per_queue=2)
    state = read(schedulers)
    assert (len(state[MAIL].schedulers), state[MAIL].unread, state[MAIL].published) == (20, 10, ())
    other = state[QueueId("bull", "other")]
    assert (len(other.schedulers), other.unread) == (3, 0)
    assert [each.id for each in other.published] == ["s00000", "s00001"]
    assert schedulers.problems() == ("schedulers that run later than those that are read: mail: 10",)


def test_a_round_has_a_bound_for_all_queues(
    cache: Keys, world: World, watching: WatchWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small queues are read whole."""
    monkeypatch.setattr(round_of_requests, "_MOST", 2000)
    serve(world, cache, small=5, a=900, b=900, c=900)
    sizes = {
        queue.name: (len(each.schedulers), each.unread)
        for queue, each in read(watching(["small", "a", "b", "c"])).items()
    }
    assert sizes == {"small": (5, 0), "a": (900, 0), "b": (900, 0), "c": (195, 705)}


def test_options_are_read_once(cache: Keys, world: World, watching: WatchWith) -> None:
    serve(world, cache, mail=3)
    schedulers = watching(["mail"])
    read(schedulers)
    world.commands.clear()
    read(schedulers)
    fields = {command[2:] for _, command in world.commands if command[0] == "HMGET"}
    assert fields.isdisjoint({("opts",), ("data",)})


def test_no_command_writes(cache: Keys, world: World, watching: WatchWith) -> None:
    server = serve(world, cache, mail=3)
    server.sizes["bull:mail:repeat"] = 3
    schedulers = watching(["mail"])
    read(schedulers)
    server.without_job = True
    read(schedulers)
    verbs = {command[0] for _, command in world.commands}
    reads = {"ZCARD", "ZRANGE", "ZCOUNT", "HMGET", "HSTRLEN", "LLEN", "LINDEX", "GET", "PTTL"}
    assert verbs <= reads | {"INFO", "CLUSTER", "CLIENT", "SELECT", "HELLO", "PING"}


def test_a_queue_that_is_refused_is_named_and_not_empty(
    cache: Keys, world: World, watching: WatchWith
) -> None:
    server = serve(world, cache, mail=2, other=2)
    schedulers = watching(["mail", "other"])
    server.refused = frozenset({"bull:mail:repeat"})
    assert set(read(schedulers)) == {QueueId("bull", "other")}
    assert schedulers.problems() == ("schedulers of 1 queues are not read: mail: NOPERM no",)


def test_what_is_refused_in_the_middle_leaves_what_is_known(
    cache: Keys, world: World, watching: WatchWith
) -> None:
    server = serve(world, cache, mail=2)
    schedulers = watching(["mail"])
    before = read(schedulers)[MAIL].schedulers
    server.refused = frozenset({"bull:mail:repeat:s00001"})
    assert read(schedulers)[MAIL].schedulers == before


def test_schedulers_that_are_removed(cache: Keys, world: World, watching: WatchWith) -> None:
    server = serve(world, cache, mail=2)
    schedulers = watching(["mail"])
    read(schedulers)
    server.sizes["bull:mail:repeat"] = 0
    assert read(schedulers) == {}


def test_what_is_not_read_again_is_dropped(
    cache: Keys, world: World, watching: WatchWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(watch, "monotonic", lambda: clock[0])
    serve(world, cache, mail=2)
    schedulers = watching(["mail"], interval_seconds=10)
    assert set(read(schedulers)) == {MAIL}
    clock[0] += 3 * (10 + 10) + 1
    assert schedulers.schedulers() == {}


def test_what_was_read_long_ago_says_nothing_of_now(
    cache: Keys, world: World, watching: WatchWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler whose run was ahead when it was read may have run since."""
    clock = [1000.0]
    monkeypatch.setattr(Deployment, "now", lambda self, address: clock[0])
    serve(world, cache, mail=1)
    schedulers = watching(["mail"])
    assert read(schedulers)[MAIL].now == 1000
    clock[0] += 150
    assert schedulers.schedulers()[MAIL].now == 1000
    assert read(schedulers)[MAIL].now == 1150


def test_a_pause_is_remembered(cache: Keys, world: World, watching: WatchWith) -> None:
    server = serve(world, cache, mail=1)
    schedulers = watching(["mail"])
    assert read(schedulers)[MAIL].held_at == 0
    server.paused = b"1"
    held = read(schedulers)[MAIL].held_at
    assert held > 0
    server.paused = None
    assert read(schedulers)[MAIL].held_at == held


def test_a_step_pauses_twenty_times_as_long_as_it_takes(
    cache: Keys, world: World, watching: WatchWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(world, cache, mail=1)
    schedulers = watching(["mail"], interval_seconds=10)
    assert schedulers.step() == pytest.approx(10, abs=20)
    times = iter([0.0, *[2.0] * 50])
    monkeypatch.setattr(watch, "monotonic", lambda: next(times))
    assert schedulers.step() == 40


def test_a_redis_that_is_down_is_asked_again_soon(world: World, watching: WatchWith) -> None:
    assert watching(["mail"]).step() == 1.0


def test_half_a_cluster_that_is_down(
    halves: dict[str, Keys], world: World, watching: WatchWith, connect: DeploymentOf
) -> None:
    """The queues of the other half are read; those of this one stay as they were."""
    first = next(iter(HALVES))
    for address in HALVES:
        world.servers[address] = Repeating(halves[address], **{"{mail}": 1, "{foo}": 1})
    schedulers = watching(["{mail}", "{foo}"], {"cluster": list(HALVES)})
    assert {queue.name for queue in read(schedulers)} == {"{mail}", "{foo}"}

    def silent(command: tuple[str, ...]) -> Reply:
        raise UnreadableError("timeout", "no answer in time")

    world.servers[first] = silent
    assert {queue.name for queue in read(schedulers)} == {"{mail}", "{foo}"}
    assert schedulers.problems() == (
        f"schedulers of 1 queues are not read: {{mail}}: {first}: no answer in time",
    )


@pytest.mark.parametrize(
    ("lengths", "job"),
    [
        ({}, "gone"),
        ({"bull:mail:wait": 1}, "pending"),
        ({"bull:mail:active": 1}, "pending"),
        ({"bull:mail:prioritized": 1}, "pending"),
        ({"bull:mail:prioritized": ReplyError("WRONGTYPE no set")}, "pending"),
    ],
)
def test_a_job_in_no_list_is_gone_where_no_other_job_hides_it(
    lengths: dict[str, Reply], job: str, cache: Keys, world: World, watching: WatchWith
) -> None:
    server = serve(world, cache, mail=1)
    server.due, server.lengths = 0, lengths
    assert [each.job for each in read(watching(["mail"]))[MAIL].schedulers] == [job]


def test_a_job_may_be_in_a_group(
    cache: Keys, world: World, watching: WatchWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(world, cache, mail=1)
    server.due = 0
    schedulers = watching(["mail"])
    known = KnownQueues((MAIL,), own={MAIL: OwnCounts(None, None, None, groups=3)})
    monkeypatch.setattr(schedulers, "_discovery", SimpleNamespace(known=lambda: known))
    assert [each.job for each in read(schedulers)[MAIL].schedulers] == ["pending"]
