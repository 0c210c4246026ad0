"""Streams in which nothing happens: what is asked of them, and that nothing of what happens is missed."""

from __future__ import annotations

import pytest

from exporter.bullmq.keys import base, slot_of
from exporter.bullmq.streams.follow import Follower
from exporter.config.bullmq import BullMQSettings
from exporter.redis.protocol import ReplyError
from exporter.snapshot.queues import BullMQState, QueueId
from tests.support.event_streams import MAIL, SteppedFollower, Streams
from tests.support.key_servers import CACHE, Clock, DeploymentOf
from tests.support.redis_servers import World

EVENTS = "bull:mail:events"


@pytest.fixture
def quiet(server: Streams, connect: DeploymentOf, clock: Clock, world: World) -> SteppedFollower:
    """A follower of a stream with an entry, which was checked and has been quiet since."""
    timed = SteppedFollower(Follower(connect(url=f"redis://{CACHE}"), BullMQSettings()), clock)
    server.time_ms = 10_000
    server.add(1000, "added 1")
    timed.round()
    timed.round(seconds=11)
    world.commands.clear()
    return timed


def asked(world: World) -> list[str]:
    """The commands since the last call, but for the time."""
    commands = [command[0] for _, command in world.commands if command[0] != "TIME"]
    world.commands.clear()
    return commands


def test_of_a_quiet_stream_only_the_length_is_read(quiet: SteppedFollower, world: World) -> None:
    for _ in range(5):
        quiet.round()
    assert asked(world) == ["XLEN"] * 5
    assert quiet.follower.events()[MAIL].lag == 0.0


def test_what_comes_is_read_in_the_same_round(server: Streams, quiet: SteppedFollower, world: World) -> None:
    quiet.round()
    server.add(2000, "added 2", "waiting 2")
    assert quiet.events().read == 2
    assert asked(world)[:2] == ["XLEN", "XLEN"]
    server.add(3000, "active 2")
    assert quiet.events().read == 3
    for _ in range(10):
        quiet.round()
    asked(world)
    quiet.round()
    assert asked(world) == ["XLEN"]


def test_a_stream_that_is_gone_is_noticed_at_once(server: Streams, quiet: SteppedFollower) -> None:
    server.entries.clear()
    server.added.clear()
    assert quiet.events().gaps == 1
    server.add(5000, "added 1")
    assert quiet.events().read == 1


def test_a_failure_grows_the_lag(server: Streams, quiet: SteppedFollower, world: World) -> None:
    removed = world.servers.pop(CACHE)
    quiet.round(seconds=3)
    assert quiet.follower.events()[MAIL].lag == pytest.approx(3.0)
    world.servers[CACHE] = removed
    server.add(5000, "added 2")
    events = quiet.events()
    assert (events.read, events.lag) == (1, 0.0)


def test_the_busy_time_of_a_quiet_stream_goes_on(server: Streams, quiet: SteppedFollower) -> None:
    server.add(20_000, "active 7")
    server.time_ms = 21_000
    quiet.round()
    for _ in range(8):
        quiet.round()
    server.time_ms = 31_000
    assert quiet.events().busy_seconds == 11.0
    server.add(32_000, "completed 7")
    server.time_ms = 33_000
    assert quiet.events().busy_seconds == 12.0


def test_each_is_read_anyway_after_a_minute(server: Streams, quiet: SteppedFollower, world: World) -> None:
    """One entry came, and one was trimmed: the length is as it was."""
    server.add(2000, "added 2", trim=1)
    assert quiet.events().read == 0
    assert quiet.events(seconds=60).read == 1
    assert "XINFO" in asked(world)


def test_a_full_stream_of_few_entries_a_node_is_read_as_ever(
    server: Streams, connect: DeploymentOf, clock: Clock, world: World
) -> None:
    """As many as come may be trimmed at once: its length says nothing."""
    server.max_length = b"1"
    timed = SteppedFollower(Follower(connect(url=f"redis://{CACHE}"), BullMQSettings()), clock)
    server.add(1000, "added 1")
    timed.round()
    timed.round(seconds=11)
    server.add(2000, "added 2", trim=1)
    assert timed.events().read == 1
    assert "XLEN" not in asked(world)


def test_without_the_right_to_ask_for_lengths_all_are_read(
    server: Streams, quiet: SteppedFollower, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Streams.__call__

    def refusing(self: Streams, command: tuple[str, ...]) -> object:
        return ReplyError("NOPERM no XLEN") if command[0] == "XLEN" else call(self, command)

    monkeypatch.setattr(Streams, "__call__", refusing)
    server.add(2000, "added 2")
    assert quiet.events().read == 1
    asked(world)
    for _ in range(8):
        quiet.round()
    assert asked(world).count("XREAD") == 8
    assert not quiet.follower.problems()


def test_a_minute_after_the_start_not_all_are_read_at_once(
    server: Streams, connect: DeploymentOf, clock: Clock, world: World
) -> None:
    queues = [QueueId("bull", f"q{number}") for number in range(100)]
    for queue in queues:
        server.add(1000, "added 1", queue=queue.name)
    timed = SteppedFollower(Follower(connect(url=f"redis://{CACHE}"), BullMQSettings()), clock)
    timed.round(*queues)
    timed.round(*queues, seconds=11)
    asked(world)
    timed.round(*queues, seconds=60)
    timed.round(*queues, seconds=1)
    commands = asked(world)
    assert (commands.count("XINFO"), commands.count("XLEN")) == (4, 200)


def test_what_is_counted_of_a_stream_that_rests_is_the_same_object(
    server: Streams, quiet: SteppedFollower
) -> None:
    quiet.round()
    first, lags = quiet.follower.followed()
    assert (first[MAIL].resting, lags) == (CACHE, {CACHE: 0.0})
    quiet.round(seconds=3)
    again, lags = quiet.follower.followed()
    assert again[MAIL] is first[MAIL]
    assert lags == {CACHE: 0.0}
    server.add(2000, "added 2", "waiting 2")
    quiet.round()
    awake, _ = quiet.follower.followed()
    assert (awake[MAIL].resting, awake[MAIL].read) == ("", 2)
    assert first[MAIL].read == 0, "nobody's events change under their hands"


def test_the_lag_of_a_stream_that_rests_is_that_of_its_node(
    server: Streams, quiet: SteppedFollower, world: World
) -> None:
    quiet.round()
    removed = world.servers.pop(CACHE)
    quiet.round(seconds=30)
    followed, lags = quiet.follower.followed()
    state = BullMQState((), events=followed, node_lags=lags)
    assert state.lag_of(followed[MAIL]) == pytest.approx(30.0)
    world.servers[CACHE] = removed


def test_jobs_that_are_active_make_a_resting_queue_busy(server: Streams, quiet: SteppedFollower) -> None:
    at_ms = server.time_ms or 0
    server.add(at_ms, "waiting 1", "active 1 waiting")
    quiet.round()
    quiet.round(seconds=11)
    for _ in range(3):
        quiet.round()
    followed, _ = quiet.follower.followed()
    assert followed[MAIL].resting == CACHE
    server.time_ms = at_ms + 4_000
    quiet.round()
    later, _ = quiet.follower.followed()
    assert later[MAIL].busy_seconds == pytest.approx((followed[MAIL].busy_seconds or 0.0) + 4.0)


def test_jobs_that_are_forgotten_count_at_once(server: Streams, quiet: SteppedFollower) -> None:
    server.add(server.time_ms or 0, "waiting 1")
    quiet.round()
    quiet.round(seconds=11)
    quiet.round()
    before, _ = quiet.follower.followed()
    quiet.follower.streams()[MAIL].evict()
    after, _ = quiet.follower.followed()
    assert (before[MAIL].resting, after[MAIL].counters.evicted) == (CACHE, 1)


@pytest.mark.parametrize("others", [(), (QueueId("bull", "{foo}"),)], ids=["alone", "with another"])
def test_a_resting_stream_without_a_node_is_read_again_when_its_node_is_back(
    world: World, connect: DeploymentOf, clock: Clock, others: tuple[QueueId, ...]
) -> None:
    node, queue = "10.0.0.1:7001", QueueId("bull", "{mail}")
    server, slot = Streams(time_ms=10_000), slot_of(base(queue))
    world.servers[node] = server

    def serve(spans: str) -> None:
        server.info = "redis_mode:cluster\r\nrole:master\r\n"
        server.nodes = f"{node} {node}@1 myself,master - 0 0 1 connected {spans}"
        timed.follower._stale = True

    timed = SteppedFollower(Follower(connect(cluster=[node]), BullMQSettings()), clock)
    serve("0-16383")
    queues = (queue, *others)
    for each in queues:
        server.add(1000, "added 1", queue=each.name)
    for seconds in (2.0, 11.0, 2.0):
        timed.round(*queues, seconds=seconds)
    followed, _ = timed.follower.followed()
    assert followed[queue].resting == node
    serve(f"0-{slot - 1} {slot + 1}-16383")
    timed.round(*queues, seconds=6)
    timed.round(*queues, seconds=30)
    assert timed.follower.events()[queue].lag == pytest.approx(36.0)
    server.add(2000, "added 2", queue=queue.name)
    serve("0-16383")
    events = timed.events(*queues, queue=queue, seconds=6)
    assert (events.read, events.lag, events.gaps, events.undone) == (1, 0.0, 0, 0)
