from __future__ import annotations

from dataclasses import replace

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.counts import Counts, plan_queue
from exporter.bullmq.details import NEVER, Moment, Since
from exporter.bullmq.streams.protocol import MAX_STREAMS, StreamMark
from exporter.bullmq.unmoved import (
    CHECK_SECONDS,
    RECOUNT_SECONDS,
    Counted,
    apply_check,
    may_stand,
    moved,
    pack_check,
    reads,
    recount_at,
)
from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot.queues import JobCounts, QueueId

NOW_MS = 1_700_000_000_000
NOW = Moment(NOW_MS)
PLAN = plan_queue(QueueId("bull", "mail"))
MARK = StreamMark(b"7-0", 0, 0, 0)
IDLE = Counts(JobCounts(0, 0, 0, 0, 0, 0, 0), 0, False, None, None, 0, 0, 0, (), None)
BUSY = IDLE._replace(
    jobs=JobCounts(5, 1, 4, 2, 0, 9, 3), lists=(3, 2), failed_last_hour=3, delayed_overdue=1, delayed_due=1
)
DUE = Since(first_due=NOW_MS - 500)


def counted(counts: Counts = IDLE, since: Since = NEVER, *, checked_at: float = 100.0) -> Counted:
    return Counted(counts, since, MARK, "set", 3, 200.0, checked_at)


def commands(queue: Counted, at: float) -> list[tuple[str, ...]]:
    request = pack_check(PLAN, queue, at, NOW)
    if request is None:
        return []
    reader = hiredis.Reader(encoding="utf-8")
    reader.feed(request.packed)
    return [tuple(reader.gets()) for _ in range(request.replies)]


@given(st.text(min_size=1))
def test_each_queue_is_counted_again_in_bounded_time(name: str) -> None:
    at = recount_at(QueueId("bull", name), 50.0)
    assert 50 + RECOUNT_SECONDS <= at <= 50 + 2 * RECOUNT_SECONDS


def test_the_safety_round_is_spread_over_the_queues() -> None:
    times = sorted(recount_at(QueueId("bull", f"queue-{number}"), 0.0) for number in range(1000))
    shares = [sum(start <= at < start + 12 for at in times) for start in range(120, 240, 12)]
    assert min(shares) > 50


@pytest.mark.parametrize(
    ("mark", "setting", "connection", "at", "stands"),
    [
        (MARK, "set", 3, 199.0, True),
        (MARK, "set", 3, 200.0, False),
        (MARK._replace(last=b"8-0"), "set", 3, 150.0, False),
        (MARK._replace(lost=1), "set", 3, 150.0, False),
        (MARK._replace(undone=1), "set", 3, 150.0, False),
        (MARK._replace(gaps=1), "set", 3, 150.0, False),
        (None, "set", 3, 150.0, False),
        (MARK, "other", 3, 150.0, False),
        (MARK, "set", 4, 150.0, False),
        (MARK, "set", 0, 150.0, False),
    ],
)
def test_what_is_known_without_asking(
    mark: StreamMark | None,
    setting: str,
    connection: int,
    at: float,
    stands: bool,  # noqa: FBT001
) -> None:
    assert may_stand(counted(), mark, setting, connection, at) is stands


def test_no_command_names_too_many_streams() -> None:
    streams = {slot: [(b"%d:%d" % (slot, number), b"0-1") for number in range(1500)] for slot in (1, 2)}
    named = [keys for _, keys in reads(streams)]
    assert sorted(map(len, named)) == [500, 500, MAX_STREAMS, MAX_STREAMS]
    assert {key for keys in named for key in keys} == {key for each in streams.values() for key, _ in each}
    assert len({key.partition(b":")[0] for key in named[0]}) == 1


@pytest.mark.parametrize(
    ("reply", "keys"),
    [
        (None, set()),
        ([[b"b", [[b"8-0", [b"event", b"added"]]]]], {b"b"}),
        (ReplyError("WRONGTYPE Operation against a key"), {b"a", b"b"}),
        (7, {b"a", b"b"}),
    ],
)
def test_the_streams_that_moved(reply: Reply, keys: set[bytes]) -> None:
    assert moved([b"a", b"b"], reply) == keys


def test_an_idle_queue_is_asked_nothing_besides() -> None:
    assert commands(counted(), 199.0) == []
    assert apply_check(PLAN, queue := counted(), [], 199.0, NOW)
    assert queue.counts is IDLE


def test_a_backlog_is_looked_at_from_time_to_time() -> None:
    queue = counted(BUSY, Since(first_due=NOW_MS + 10**6), checked_at=100.0)
    assert commands(queue, 100 + CHECK_SECONDS - 1) == []
    assert commands(queue, 100 + CHECK_SECONDS) == [
        ("LLEN", "bull:mail:wait"),
        ("LLEN", "bull:mail:paused"),
        ("ZCARD", "bull:mail:prioritized"),
        ("ZCARD", "bull:mail:delayed"),
        ("ZCOUNT", "bull:mail:failed", str(NOW_MS - 3_600_000), "+inf"),
    ]


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("reply", [0, 1, ReplyError("NOPERM no")])
def test_a_list_of_another_length_has_the_queue_counted(place: int, reply: Reply) -> None:
    at, same = 100 + CHECK_SECONDS, [3, 2, 2, 4, 2]
    replies: list[Reply] = [*same[:place], reply, *same[place + 1 :]]
    far = Since(first_due=NOW_MS + 10**6)
    assert not apply_check(PLAN, counted(BUSY, far), replies, at, NOW)
    queue = counted(BUSY, far)
    assert apply_check(PLAN, queue, [*same], at, NOW)
    assert (queue.counts.failed_last_hour, queue.checked_at) == (2, at)


def test_what_is_due_is_read_each_time() -> None:
    queue = counted(BUSY, DUE)
    assert [command[0] for command in commands(queue, 101)] == ["ZCOUNT", "ZCOUNT"]
    assert apply_check(PLAN, queue, [2, 1], 101, NOW)
    assert (queue.counts.delayed_overdue, queue.counts.delayed_due) == (2, 1)
    assert queue.checked_at == 100
    assert apply_check(PLAN, queue, [4, 0], 101, NOW)
    assert commands(queue, 101) == []  # all are due: that stays so until the stream moves


def test_how_long_a_limit_runs_is_read_each_time() -> None:
    limited = IDLE._replace(rate_limit_ttl=2.0)
    queue = counted(limited)
    assert commands(queue, 101) == [("PTTL", "bull:mail:limiter")]
    assert apply_check(PLAN, queue, [1500], 101, NOW)
    assert queue.counts.rate_limit_ttl == 1.5
    assert not apply_check(PLAN, counted(limited), [-2], 101, NOW)
    assert commands(counted(IDLE._replace(rate_limit_ttl=0.0)), 101) == []


def test_a_check_changes_nothing_that_is_shared() -> None:
    queue = counted(BUSY, DUE)
    copy = replace(queue)
    apply_check(PLAN, queue, [2, 1], 101, NOW)
    assert copy.counts is BUSY
