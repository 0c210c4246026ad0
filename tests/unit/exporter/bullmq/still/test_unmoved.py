from __future__ import annotations

from dataclasses import replace
from math import inf

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.counts import Counts, plan_queue
from exporter.bullmq.details import NEVER, Moment, Read, Since
from exporter.bullmq.still.unmoved import (
    CHECK_SECONDS,
    RECOUNT_SECONDS,
    Counted,
    apply_check,
    pack_check,
    period,
    reads,
    unmoved,
)
from exporter.bullmq.streams.protocol import MAX_STREAMS, StreamMark, bulk
from exporter.redis.protocol import Reply, ReplyError
from exporter.snapshot.queues import JobCounts, QueueId

NOW_MS = 1_700_000_000_000
NOW = Moment(NOW_MS)
PLAN = plan_queue(QueueId("bull", "mail"))
MARK = StreamMark(bulk(b"7-0"), 0, 0, 0, 50.0)
IDLE = Counts(JobCounts(0, 0, 0, 0, 0, 0, 0), 0, False, None, None, 0, 0, 0, (), None)
BUSY = IDLE._replace(
    jobs=JobCounts(5, 1, 4, 2, 0, 9, 3), lists=(3, 2), failed_last_hour=3, delayed_overdue=1, delayed_due=1
)
DUE = Since(first_due=NOW_MS - 500)


FAR = Since(first_due=NOW_MS + 10**6)
LOOK = 100 + CHECK_SECONDS


def counted(counts: Counts = IDLE, since: Since = NEVER, *, key: bytes = b"") -> Counted:
    return Counted(PLAN, Read(counts, since, whole=True), key, MARK, "set", 200.0, 100.0)


def commands(queue: Counted, at: float, moment: Moment = NOW) -> list[tuple[str, ...]]:
    request = pack_check(queue, at, moment)
    if request is None:
        return []
    reader = hiredis.Reader(encoding="utf-8")
    reader.feed(request.packed)
    return [tuple(reader.gets()) for _ in range(request.replies)]


@given(st.text(min_size=1))
def test_each_queue_is_counted_again_in_bounded_time(name: str) -> None:
    assert RECOUNT_SECONDS <= period(QueueId("bull", name)) <= 2 * RECOUNT_SECONDS


def test_the_safety_round_is_spread_over_the_queues() -> None:
    times = sorted(period(QueueId("bull", f"queue-{number}")) for number in range(1000))
    shares = [sum(start <= at < start + 12 for at in times) for start in range(120, 240, 12)]
    assert min(shares) > 50


def test_no_command_names_too_many_streams() -> None:
    groups = [[counted(key=b"%d:%d" % (slot, number)) for number in range(1500)] for slot in (1, 2)]
    named = [[each.key for each in some] for _, some in reads(groups)]
    assert sorted(map(len, named)) == [500, 500, MAX_STREAMS, MAX_STREAMS]
    assert {key for keys in named for key in keys} == {each.key for group in groups for each in group}
    assert len({key.partition(b":")[0] for key in named[0]}) == 1


def test_each_stream_is_read_from_its_mark() -> None:
    ((request, _),) = reads([[counted(key=bulk(b"bull:mail:events"))]])
    reader = hiredis.Reader(encoding="utf-8")
    reader.feed(request.packed)
    assert reader.gets() == ["XREAD", "COUNT", "1", "STREAMS", "bull:mail:events", "7-0"]


@pytest.mark.parametrize(
    ("reply", "still"),
    [
        (None, [b"a", b"b"]),
        ([[b"b", [[b"8-0", [b"event", b"added"]]]]], [b"a"]),
        (ReplyError("WRONGTYPE Operation against a key"), []),
        (7, []),
    ],
)
def test_the_streams_that_did_not_move(reply: Reply, still: list[bytes]) -> None:
    asked = [counted(key=bulk(key)) for key in (b"a", b"b")]
    assert [each.key for each in unmoved(asked, reply)] == [bulk(key) for key in still]


def test_an_idle_queue_is_asked_nothing_besides() -> None:
    queue = counted()
    assert commands(queue, 199.0) == []
    assert queue.look_at == inf
    assert queue.read.counts is IDLE


FIRST_LISTS: list[tuple[tuple[int, int], int, tuple[str, str] | None]] = [
    ((3, 2), 2, ("LLEN", "bull:mail:wait")),
    ((0, 2), 2, ("LLEN", "bull:mail:paused")),
    ((0, 0), 2, ("ZCARD", "bull:mail:prioritized")),
    ((0, 0), 0, ("ZCARD", "bull:mail:delayed")),
]


@pytest.mark.parametrize(("lists", "prioritized", "command"), FIRST_LISTS)
def test_one_list_with_jobs_is_looked_at_from_time_to_time(
    lists: tuple[int, int], prioritized: int, command: tuple[str, str]
) -> None:
    """A drain leaves no job in any, and a change of priority goes from one to another."""
    jobs = BUSY.jobs._replace(active=0, prioritized=prioritized)
    queue = counted(BUSY._replace(jobs=jobs, lists=lists, failed_last_hour=0), FAR)
    assert commands(queue, LOOK - 1) == []
    assert queue.look_at == LOOK
    assert commands(queue, LOOK) == [command]
    assert apply_check(queue, [lists[0] or lists[1] or prioritized or 4], LOOK, NOW)
    assert (queue.checked_at, queue.look_at) == (LOOK, LOOK + CHECK_SECONDS)


@pytest.mark.parametrize("reply", [0, 2, 4, ReplyError("NOPERM no")])
def test_a_list_of_another_length_has_the_queue_counted(reply: Reply) -> None:
    assert not apply_check(counted(BUSY._replace(failed_last_hour=0), FAR), [reply, 1], LOOK, NOW)


def test_active_jobs_and_parents_that_wait_for_children_are_looked_at_from_time_to_time() -> None:
    """Before BullMQ 5 an active job becomes such a parent without an event, and such a parent waits for a
    worker without one where its last child is drained from another queue."""
    jobs = JobCounts(0, 2, 0, 0, 3, 0, 0)
    queue = counted(IDLE._replace(jobs=jobs))
    assert commands(queue, LOOK - 1) == []
    assert queue.look_at == LOOK
    assert commands(queue, LOOK) == [("LLEN", "bull:mail:active"), ("ZCARD", "bull:mail:waiting-children")]
    assert apply_check(queue, [2, 3], LOOK, NOW)
    assert not apply_check(queue, [1, 3], 2 * LOOK, NOW)
    assert not apply_check(queue, [2, 2], 2 * LOOK, NOW)


def test_how_many_failed_in_the_last_hour_is_read_when_it_changes() -> None:
    failed = IDLE._replace(jobs=JobCounts(0, 0, 0, 0, 0, 0, 7), failed_last_hour=3)
    queue = counted(failed)
    assert commands(queue, 101) == []
    asked = [
        ("ZCOUNT", "bull:mail:failed", str(NOW_MS - 3_600_000), "+inf"),
        ("ZRANGE", "bull:mail:failed", "-3", "-3", "WITHSCORES"),
    ]
    assert commands(queue, LOOK) == asked
    first: Reply = [b"job", b"%d" % (NOW_MS - 3_600_000 + 30_000)]  # an hour ago in 30 s
    assert apply_check(queue, [3, first], LOOK, NOW)
    assert (queue.read.counts.failed_last_hour, queue.look_at) == (3, LOOK + 30)
    assert commands(queue, LOOK + 29, Moment(NOW_MS + 29_000)) == []
    later = Moment(NOW_MS + 30_001)
    assert len(commands(queue, LOOK + 31, later)) == 2
    assert apply_check(queue, [2, first], LOOK + 31, later)
    assert queue.read.counts.failed_last_hour == 2
    assert commands(queue, LOOK + 2 * CHECK_SECONDS + 31, later)[1][2:4] == ("-2", "-2")


def test_what_is_due_is_read_each_time() -> None:
    queue = counted(BUSY, DUE)
    assert [command[0] for command in commands(queue, 101)] == ["ZCOUNT", "ZCOUNT"]
    assert apply_check(queue, [2, 1], 101, NOW)
    assert (queue.read.counts.delayed_overdue, queue.read.counts.delayed_due) == (2, 1)
    assert (queue.checked_at, queue.look_at < 101) == (100, True)
    assert apply_check(queue, [4, 0], 101, NOW)
    assert commands(queue, 101) == []  # all are due: that stays so until the stream moves


def test_a_delayed_job_is_looked_at_once_it_is_due_soon() -> None:
    counts = IDLE._replace(jobs=JobCounts(0, 0, 1, 0, 0, 0, 0))
    queue = counted(counts, Since(first_due=NOW_MS + 65_000))
    assert commands(queue, 101) == []
    assert queue.look_at == 106
    assert [command[0] for command in commands(queue, 106, Moment(NOW_MS + 5000))] == ["ZCOUNT", "ZCOUNT"]


def test_how_long_a_limit_runs_is_read_each_time() -> None:
    limited = IDLE._replace(rate_limit_ttl=2.0)
    queue = counted(limited)
    assert commands(queue, 101) == [("PTTL", "bull:mail:limiter")]
    assert apply_check(queue, [1500], 101, NOW)
    assert (queue.read.counts.rate_limit_ttl, queue.look_at) == (1.5, 0)
    assert not apply_check(counted(limited), [-2], 101, NOW)
    assert commands(counted(IDLE._replace(rate_limit_ttl=0.0)), 101) == []


def test_a_check_changes_nothing_that_is_shared() -> None:
    queue = counted(BUSY, DUE)
    copy = replace(queue)
    apply_check(queue, [2, 1], 101, NOW)
    assert copy.read.counts is BUSY


@given(
    st.builds(JobCounts, *[st.integers(0, 2)] * 7),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
    st.integers(-100, 200),
    st.none() | st.sampled_from([0.0, 5.0]),
    st.integers(0, 30),
)
def test_no_look_is_later_than_there_is_something_to_ask(
    jobs: JobCounts, lists: tuple[int, int], due_in: int, ttl: float | None, seconds: int
) -> None:
    """What `look_at` leaves out would not have been asked."""
    counts = IDLE._replace(
        jobs=jobs,
        lists=lists,
        rate_limit_ttl=ttl,
        failed_last_hour=jobs.failed,
        delayed_overdue=int(bool(jobs.delayed)) if due_in <= 0 else 0,
    )
    queue = counted(counts, Since(first_due=NOW_MS + due_in * 1000) if jobs.delayed else NEVER)
    if commands(queue, 101):
        return
    at = 101 + seconds
    if commands(queue, at, Moment(NOW_MS + seconds * 1000)):
        assert queue.look_at <= at
