from __future__ import annotations

from collections.abc import Callable

import pytest

from exporter.bullmq.streams import budget, follow, read_round
from exporter.bullmq.streams.events import Jobs
from exporter.bullmq.streams.follow import Follower
from exporter.bullmq.streams.stream import Stream
from exporter.config.bullmq import BullMQSettings
from exporter.redis.protocol import Reply, Request
from exporter.snapshot.queues import QueueId
from service.outcome import Failed
from tests.support.event_streams import MAIL, OTHER, SteppedFollower, Streams, roll_back
from tests.support.key_servers import CACHE, Clock, DeploymentOf
from tests.support.redis_servers import World

NEW = 2_000_000_000_000  # ms, after any test began


@pytest.fixture
def timed(server: Streams, connect: DeploymentOf, clock: Clock) -> SteppedFollower:
    return SteppedFollower(Follower(connect(url=f"redis://{CACHE}"), BullMQSettings()), clock)


def test_begins_at_the_end_of_what_was_there(server: Streams, timed: SteppedFollower) -> None:
    server.add(1000, "added 1", "waiting 1")
    server.active["bull:mail:active"] = [b"7"]
    timed.round()
    assert timed.events()[1:3] == (0, 0)
    server.add(2000, "waiting 2", "delayed 7 delay=9")
    events = timed.events()
    assert (events.read, events.lost, events.counters.retried, events.counters.added) == (2, 0, 1, 0)


def test_a_stream_that_began_later_is_read_whole(server: Streams, timed: SteppedFollower) -> None:
    server.add(NEW, "added 1", "waiting 1")
    timed.round()
    assert timed.events().counters.added == 1
    server.add(NEW, "added 1", queue="other")
    server.add(NEW, "added 2", queue="other", trim=1)
    timed.round(MAIL, OTHER)
    assert timed.events(MAIL, OTHER, queue=OTHER).read == 0


def test_before_redis_7_too_a_stream_that_began_later_is_read_whole(
    server: Streams, timed: SteppedFollower
) -> None:
    """Whether anything was trimmed is not known there; to pass over all of it would lose more."""
    server.counts = False
    timed.round()
    server.add(NEW, "added 1", "waiting 1", queue="other")
    timed.round(MAIL, OTHER)
    events = timed.events(MAIL, OTHER, queue=OTHER)
    assert (events.counters.added, events.lost) == (1, 0)


def test_a_queue_without_a_stream_yet(server: Streams, timed: SteppedFollower) -> None:
    timed.round()
    assert timed.events().read == 0
    server.add(1000, "added 1", "waiting 1", "added 2")
    assert timed.events().counters.added == 2


def test_what_was_trimmed_unread(server: Streams, timed: SteppedFollower) -> None:
    timed.round()
    server.add(1000, *["added 1"] * 20, trim=5)
    timed.round()
    timed.round()
    events = timed.events()
    assert (events.read, events.lost) == (5, 15)
    assert timed.events().lost == 15


def test_before_redis_7_at_least_so_many_were(server: Streams, timed: SteppedFollower) -> None:
    server.counts = False
    server.max_length = b"1"
    server.add(1000, "added 1")
    timed.round()
    server.add(2000, "added 2", "added 3", "added 4", trim=1)
    assert timed.events()[1:3] == (1, 2)
    server.add(2000, "added 5", "added 6", trim=1)
    assert timed.events()[1:3] == (2, 3)
    server.add(3000, "added 7")
    assert timed.events()[1:3] == (3, 3)


def test_after_a_loss_only_what_is_certain_has_a_duration(server: Streams, timed: SteppedFollower) -> None:
    timed.round()
    server.add(1000, "added 1", "waiting 1")
    timed.round()
    server.add(2000, "active 1", "waiting 2", "waiting 1 prev=active", trim=1)
    server.active["bull:mail:active"] = [b"9"]
    timed.round()
    assert timed.events().lost == 2
    server.add(5000, "delayed 9 delay=1", "active 1")
    events = timed.events().counters
    assert (events.retried, events.started, sum(events.wait.counts)) == (2, 1, 0)


def test_more_is_read_at_once(
    server: Streams, timed: SteppedFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (budget, read_round):
        monkeypatch.setattr(module, "BATCH", 10)
    timed.round()
    server.add(1000, *["added 1"] * 25)
    assert [timed.round(), timed.round()] == [0.0, 0.0]
    assert timed.round() > 0
    assert timed.events().read == 25


def test_the_busier_and_the_shorter_a_stream_the_sooner_it_is_read_again(
    server: Streams, timed: SteppedFollower
) -> None:
    timed.round()
    assert 0.25 <= timed.round() <= 1.0
    server.add(1000, *["added 1"] * 900, trim=200)
    assert timed.round() <= 1.0
    server.add(2000, *["added 1"] * 900, trim=200)
    assert timed.round(seconds=0.25) == 0.1


def test_what_is_new_is_read_once_after_a_node_was_silent(
    world: World, server: Streams, timed: SteppedFollower
) -> None:
    timed.round()
    server.add(1000, "added 1")
    assert timed.events().read == 1
    timed.round(seconds=0)
    removed = world.servers.pop(CACHE)
    assert 0 < timed.round() <= 1.0
    assert timed.follower.events()[MAIL].lag == pytest.approx(2.0)
    world.servers[CACHE] = removed
    server.add(2000, "added 2")
    events = timed.events()
    assert (events.read, events.counters.added, events.lag) == (2, 2, 0.0)


def test_after_answers_that_came_too_late_less_is_asked_for(
    server: Streams, timed: SteppedFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed.round()
    for number in range(6):
        server.add(1000 + number, f"completed {number} returnvalue={'x' * 300_000}")
    (reader,) = timed.follower._readers.values()
    execute = timed.follower.execute

    def late(address: str, request: Request) -> list[Reply] | Failed:
        replies = execute(address, request)
        return (
            Failed("timeout", "") if b"XREAD" in request.packed and len(str(replies)) > 400_000 else replies
        )

    monkeypatch.setattr(timed.follower, "execute", late)
    for _ in range(3):
        timed.round()
    assert reader.budget < budget.BUDGET
    for _ in range(8):
        timed.round()
    events = timed.events()
    assert (events.counters.completed, events.lost) == (6, 0)


def test_a_stream_that_vanishes_and_comes_again(server: Streams, timed: SteppedFollower) -> None:
    timed.round()
    server.add(1000, "added 1", "waiting 1")
    timed.round()
    for table in (server.entries, server.added, server.last):
        table.clear()
    timed.round(seconds=20)
    server.add(2000, "added 1", "waiting 1", "active 1")
    timed.round()
    events = timed.events()
    assert (events.read, events.lost, events.counters.added) == (5, 0, 2)


def test_ids_that_went_back_are_followed_from_their_end(server: Streams, timed: SteppedFollower) -> None:
    timed.round()
    server.add(5000, "added 1")
    timed.round()
    for table in (server.entries, server.added, server.last):
        table.clear()
    server.add(4000, "added 2")
    timed.round(seconds=20)
    server.add(4500, "added 3")
    timed.round()
    events = timed.events()
    assert (events.read, events.lost, events.undone) == (2, 1, 0), "the one before the last that was read"


@pytest.mark.fault
@pytest.mark.parametrize("looks", [1, 3], ids=["as it was new", "known for long"])
def test_a_stream_written_anew_with_earlier_ids_is_told_as_lost(
    server: Streams, timed: SteppedFollower, looks: int
) -> None:
    """As after a flush with the clock set back: what it has is in no counter."""
    timed.round()
    for look in range(looks):
        for n in range(50):
            server.add(50_000 + 1000 * look + n, f"completed {look}-{n}")
        timed.round(seconds=12)
    read = timed.events().read
    assert read == 50 * looks
    for table in (server.entries, server.added, server.last):
        table.clear()
    for n in range(10):
        server.add(4000 + n, f"completed new-{n}")
    events = timed.events(seconds=20)
    assert (events.read, events.lost, events.undone) == (read, 10, 0)
    server.add(5000, "completed last")
    events = timed.events(seconds=12)
    assert (events.read, events.lost, events.undone) == (read + 1, 10, 0)


def test_jobs_that_went_without_an_event_are_forgotten(server: Streams, timed: SteppedFollower) -> None:
    timed.round()
    server.add(1000, "waiting 1", "active 2")
    timed.round()
    server.lengths |= dict.fromkeys((f"bull:mail:{key}" for key in ("wait", "paused", "prioritized")), 0)
    server.add(2000, "waiting 3")
    timed.round(seconds=12)
    assert timed.follower._streams[MAIL].jobs.remembered == 2
    assert timed.events().counters.evicted == 1


def test_all_queues_together_have_a_bound(
    server: Streams, timed: SteppedFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_MAX_REMEMBERED", 20)
    timed.round(MAIL, OTHER)
    server.add(1000, *[f"waiting {n}" for n in range(30)])
    server.add(1000, "waiting 1", queue="other")
    events = timed.events(MAIL, OTHER)
    assert events.counters.evicted >= 11
    assert timed.follower._streams[OTHER].jobs.remembered == 1


def test_names_of_all_queues_together_have_a_bound(
    server: Streams, timed: SteppedFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_MAX_REMEMBERED", 20)
    timed.round(MAIL, OTHER)
    server.add(1000, *[f"added {n}" for n in range(30)])
    server.add(1000, "added 1", queue="other")
    timed.round(MAIL, OTHER)
    sizes = [timed.follower._streams[queue].jobs.remembered_names for queue in (MAIL, OTHER)]
    assert sizes == [19, 1]


class _Counting(Jobs):
    """`looks`: how often it was asked how many jobs it remembers."""

    looks = 0

    @property
    def remembered(self) -> int:
        type(self).looks += 1
        return super().remembered


def test_many_queues_with_few_jobs_each_are_bounded_in_few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest is not searched for among all of them each time: of ten thousand that was a minute."""
    monkeypatch.setattr(follow, "_MAX_REMEMBERED", 5000)
    streams = [Stream(QueueId("bull", str(number)), _Counting(), 0.0) for number in range(1000)]
    for stream in streams:
        stream.jobs.feed([[b"1-0", [b"event", b"waiting", b"jobId", b"%d" % job]] for job in range(6)])
    _Counting.looks = 0
    follow._evict(streams, lambda stream: stream.jobs.remembered, Stream.evict)
    assert _Counting.looks <= 3000
    assert sum(stream.jobs.remembered for stream in streams) == 5000


def test_one_key_that_is_not_a_stream_does_not_block_the_others(
    server: Streams, timed: SteppedFollower
) -> None:
    timed.round(MAIL, OTHER)
    server.refused["bull:other:events"] = "WRONGTYPE no stream"
    server.add(1000, "added 1")
    timed.round(MAIL, OTHER)
    assert timed.events(MAIL, OTHER).read == 1


def test_removed_queues_are_forgotten(server: Streams, timed: SteppedFollower) -> None:
    server.add(1000, "added 1", queue="other")
    timed.round(MAIL, OTHER)
    timed.round(OTHER)
    assert list(timed.follower.events()) == [OTHER]


def test_a_queue_whose_stream_is_refused_has_no_events(server: Streams, timed: SteppedFollower) -> None:
    server.refused["bull:mail:events"] = "NOPERM no"
    timed.round()
    assert timed.follower.events() == {}
    assert timed.follower.problems() == ("event streams: NOPERM no",)
    server.refused.clear()
    timed.round(seconds=5)
    assert timed.follower.events() == {}
    timed.round(seconds=20)
    assert (list(timed.follower.events()), timed.follower.problems()) == ([MAIL], ())


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
    timed = SteppedFollower(Follower(connect(cluster=["10.0.0.1:7001"]), BullMQSettings()), clock)
    timed.round(tagged)
    first.add(1000, "added 1", "waiting 1", queue="{mail}")
    assert timed.events(tagged, queue=tagged).counters.added == 1
    second.entries, second.added, second.last = first.entries, first.added, first.last
    first.refused["bull:{mail}:events"] = "MOVED 1 10.0.0.2:7002"
    share({"10.0.0.1:7001": "", "10.0.0.2:7002": "0-16383"})
    second.add(2000, "added 2", queue="{mail}")
    timed.round(tagged)
    events = timed.events(tagged, queue=tagged)
    assert (events.counters.added, events.read, events.lost) == (2, 3, 0)


def after_each_read(
    timed: SteppedFollower, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]
) -> None:
    """Act between the next answer of XREAD and its use."""
    execute, acted = timed.follower.execute, False

    def slow(address: str, request: Request) -> list[Reply] | Failed:
        nonlocal acted
        replies = execute(address, request)
        if b"XREAD" in request.packed and not acted:
            acted = True
            act()
        return replies

    monkeypatch.setattr(timed.follower, "execute", slow)


def test_readers_of_two_nodes_never_count_one_entry_twice(
    server: Streams, timed: SteppedFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed.round()
    server.add(1000, "added 1", "waiting 1")
    after_each_read(timed, monkeypatch, lambda: timed.round(seconds=0))
    assert timed.events().read == 2


def failed_over(server: Streams, world: World, timed: SteppedFollower) -> None:
    """The same queue at another address."""
    world.servers["other:6379"] = world.servers.pop(CACHE)
    (stream,) = timed.follower._streams.values()
    stream.set_owner("other:6379")
    timed.follower._assigned = None
    world.servers[CACHE] = server


def test_a_stream_created_again_while_the_clock_went_back(server: Streams, timed: SteppedFollower) -> None:
    """Its first entry is of the same ms as the last one of the stream before it."""
    timed.round()
    server.add(900, "added 1", "waiting 1")
    server.add(1000, "added 2", "waiting 2")
    timed.round()
    assert timed.events().read == 4
    key = "bull:mail:events"
    server.entries[key], server.added[key], server.last[key] = [], 0, (0, -1)
    server.add(1000, "added 3")
    server.add(1001, "waiting 3", "added 4")
    events = timed.events(seconds=12)
    assert (events.undone, events.gaps) == (0, 1)


@pytest.mark.parametrize("later", [0, 3], ids=["nothing yet", "new events"])
def test_events_undone_by_a_failover_are_reported(
    server: Streams, world: World, timed: SteppedFollower, later: int
) -> None:
    timed.round()
    server.add(1000, "added 1", "waiting 1", "added 2", "waiting 2")
    assert timed.events().read == 4
    del server.entries["bull:mail:events"][-2:]
    server.added["bull:mail:events"], server.last["bull:mail:events"] = 2, (1000, 1)
    failed_over(server, world, timed)
    for n in range(later):
        server.add(5000 + n, f"added {n + 5}")
    events = timed.events()
    assert (events.read, events.undone, events.lost) == (4 + later, 2, 0)
    server.add(9000, "added 9")
    events = timed.events()
    assert (events.read, events.undone, events.lost) == (5 + later, 2, 0)


def test_a_stream_created_again_on_the_same_node_undid_nothing(
    server: Streams, timed: SteppedFollower
) -> None:
    timed.round()
    server.add(1000, "added 1", "waiting 1", "added 2", "waiting 2")
    timed.round()
    server.entries.clear()
    server.added.clear()
    server.add(5000, "added 1")
    events = timed.events()
    assert (events.read, events.undone, events.lost) == (5, 0, 0)


def test_events_undone_by_a_restart_from_an_older_file_are_reported(
    server: Streams, timed: SteppedFollower
) -> None:
    timed.round()
    server.add(1000, "added 1", "waiting 1", "added 2", "waiting 2")
    timed.round()
    roll_back(server, 3)
    events = timed.events(seconds=20)
    assert (events.read, events.undone, events.lost) == (4, 3, 0)
    server.add(5000, "added 3")
    assert timed.events().undone == 3


def test_a_new_master_that_never_had_the_stream_undid_all(
    server: Streams, world: World, timed: SteppedFollower
) -> None:
    timed.round()
    server.add(1000, "added 1", "waiting 1")
    assert timed.events().read == 2
    for table in (server.entries, server.added, server.last):
        table.clear()
    failed_over(server, world, timed)
    assert timed.events().undone == 2
    server.add(5000, "added 2")
    events = timed.events()
    assert (events.read, events.undone, events.lost) == (3, 2, 0)


def test_entries_of_a_demoted_master_do_not_count(
    server: Streams, timed: SteppedFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed.round()
    (stream,) = timed.follower._streams.values()
    server.add(1000, "added 1")
    after_each_read(timed, monkeypatch, lambda: stream.set_owner("other:6379"))
    (reader,) = timed.follower._readers.values()
    reader.step()
    assert (stream.read, stream.jobs.counters().added) == (0, 0)
