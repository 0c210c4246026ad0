from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.bull.channels import ChannelMessage
from exporter.bullmq.bull.jobs import Balance, BullJobs
from exporter.snapshot.queues import JobCounters

NAMES = ("added", "started", "completed", "failed", "retried", "stalled", "deduplicated")


def jobs(*messages: str, ids: int = 0) -> BullJobs:
    """`active 7` and so on, one each 100 ms, from a queue that is empty and has counted `ids` adds."""
    counted = BullJobs(1000.0, (0.15, 1.0))
    counted.count_ids(ids)
    counted.begin_active()
    counted.seed_active([])
    feed(counted, *messages)
    return counted


def feed(counted: BullJobs, *messages: str) -> None:
    for n, text in enumerate(messages):
        kind, _, job = text.partition(" ")
        counted.feed(ChannelMessage(b"bull:q:", kind, job.encode() or None, 50), 1000 + n * 100)


def counts(counted: BullJobs) -> dict[str, int]:
    counters: JobCounters = counted.events().counters
    return {name: value for name in NAMES if (value := getattr(counters, name))}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (["waiting 1", "active 1", "completed 1"], {"started": 1, "completed": 1}),
        (["active 1", "active 1", "failed 1"], {"started": 2, "retried": 1, "failed": 1}),
        (["active 1", "waiting 1", "active 1", "completed 1"], {"started": 2, "retried": 1, "completed": 1}),
        (["active 1", "stalled 1", "active 1"], {"started": 2, "stalled": 1}),
        (["active 1", "completed 1", "waiting 1", "active 1"], {"started": 2, "completed": 1}),
        (["completed"], {"completed": 1}),
        (["debounced 1", "duplicated 1"], {"deduplicated": 1}),
        (["completed 9"], {"completed": 1}),
    ],
)
def test_counts(messages: list[str], expected: dict[str, int]) -> None:
    counted = jobs(*messages)
    assert counts(counted) == expected
    assert counted.events().read == len(messages)


def test_durations() -> None:
    counters = jobs("waiting 1", "active 1", "waiting 2", "active 2", "active 2", "completed 1", "failed 2")
    read = counters.events().counters
    assert (read.wait.counts, read.wait.total) == ((2, 0, 0), 0.2)
    assert set(read.processing) == {
        "completed",
        "failed",
    }  # nobody sees the end of an attempt that is retried
    assert (read.processing["completed"].counts, read.processing["completed"].total) == ((0, 1, 0), 0.4)
    assert (read.processing["failed"].counts, read.processing["failed"].total) == ((0, 1, 0), 0.2)


def test_a_stalled_job_waits_again() -> None:
    read = jobs("active 1", "stalled 1", "active 1", "completed 1").events().counters
    assert (sum(read.wait.counts), sum(read.processing["completed"].counts)) == (1, 1)


def test_added_is_what_the_queue_itself_counts() -> None:
    counted = jobs(ids=40)
    assert counted.events().counters.added == 0
    counted.count_ids(43)
    counted.count_ids(None)
    assert counts(counted) == {"added": 3}
    counted.count_ids(2)  # obliterated
    assert counts(counted) == {"added": 5}


def test_without_its_count_nobody_knows_what_was_added() -> None:
    counted = BullJobs(0.0)
    counted.count_ids(None)
    assert counted.events().counters.added is None
    assert counted.events().counters.removed is None


@given(calls=st.lists(st.tuples(st.booleans(), st.booleans())), early=st.booleans())
def test_duplicates_are_not_added_whenever_their_message_arrives(
    calls: list[tuple[bool, bool]], *, early: bool
) -> None:
    counted = jobs()
    late: list[str] = []
    for ids, (duplicate, read_now) in enumerate(calls, 1):
        late += ["duplicated x"] if duplicate else []
        if early:
            feed(counted, *late)
            late.clear()
        if read_now:
            feed(counted, *late)
            late.clear()
            counted.count_ids(ids)
    feed(counted, *late)
    counted.count_ids(len(calls))
    assert counted.events().counters.added == sum(not duplicate for duplicate, _ in calls)


def test_the_counters_are_the_same_object_until_something_is_counted() -> None:
    counted = jobs("waiting 1")
    before = counted.events().counters
    assert counted.events().counters is before
    counted.count_ids(0)
    assert counted.events().counters is before
    feed(counted, "active 1")
    assert counted.events().counters is not before


def test_jobs_that_are_active_at_the_beginning_have_no_duration() -> None:
    counted = BullJobs(0.0)
    counted.begin_active()
    feed(counted, "active 2", "completed 3")
    assert counted.seed_active([b"1", b"2", b"3"]) == 1
    feed(counted, "completed 1", "completed 2")
    assert counts(counted) == {"started": 1, "completed": 3}
    assert sum(counted.events().counters.processing["completed"].counts) == 1
    assert counted.running == 0


def test_what_changed_while_nothing_was_received() -> None:
    counted = jobs("active 1", "active 2")
    counted.begin_active()
    assert counted.seed_active([b"2", b"3", b"4"]) == 3
    counted.lose(3)
    feed(counted, "completed 2", "completed 3", "completed 4")
    assert (counts(counted), counted.events().lost) == ({"started": 2, "completed": 3}, 3)
    assert sum(counted.events().counters.processing["completed"].counts) == 0


def test_what_is_received_while_active_jobs_are_read_is_newer() -> None:
    counted = jobs("active 2")
    counted.begin_active()
    feed(counted, "completed 2", "active 3")
    assert counted.seed_active([b"2"]) == 0
    feed(counted, "completed 3")
    assert counts(counted) == {"started": 2, "completed": 2}
    assert sum(counted.events().counters.processing["completed"].counts) == 2


def test_too_many_active_jobs_are_not_compared() -> None:
    counted = jobs("active 1")
    counted.begin_active()
    assert counted.seed_active(None) == 0
    assert counted.running == 1


@pytest.mark.parametrize(
    ("before", "after", "missed"),
    [
        (Balance(10, 0, 0), Balance(15, 0, 0), 10),
        (Balance(10, 0, 0), Balance(15, 5, 0), 0),
        (Balance(10, 4, 1), Balance(10, 1, 1), 6),
        (Balance(10, 4, 0), Balance(10, 1, 3), 3),
        (Balance(10, 0, 0), Balance(2, 0, 0), 0),
        (Balance(10, 0, 5), Balance(10, 0, 2), 3),
        (None, Balance(10, 0, 5), 0),
        (Balance(10, 0, 5), None, 0),
    ],
)
def test_what_was_missed_at_least(before: Balance | None, after: Balance | None, missed: int) -> None:
    counted = jobs()
    counted.remember(counted.stock(before))
    assert counted.missed(after) == missed


def test_what_was_received_is_not_missed() -> None:
    counted = jobs()
    counted.remember(counted.stock(Balance(0, 0, 0)))
    feed(counted, "active 1", "active 1", "completed 1", "active 2", "failed 2", "duplicated 2", "active 3")
    assert counted.missed(Balance(4, 0, 1)) == 0
    assert counted.missed(Balance(5, 0, 1)) == 2


def test_jobs_that_left_without_a_message_are_forgotten() -> None:
    counted = jobs("active 1", "waiting 2")
    counted.prune(4_000, waiting=False, active=False)
    assert counted.running == 1  # the message of its end may be on its way
    counted.prune(20_000, waiting=True, active=True)
    assert counted.running == 1
    counted.prune(20_000, waiting=False, active=False)
    assert (counted.running, counted.events().counters.evicted) == (0, 2)


# --- busy time ---


def observed(counted: BullJobs, ms: int, active: int | None) -> float | None:
    """After a poll at `ms` that found so many active jobs."""
    counted.observe_active(active, ms, counted.running)
    return counted.events().busy_seconds


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (["active 1", "completed 1"], 0.1),
        (["active 1", "active 2", "failed 1"], 0.2 + 0.9),
        (["active 1", "stalled 1"], 0.1),
        (["active 1", "active 1", "completed 1"], 0.2),
        (["active 1", "waiting 1"], 0.1),
        (["active", "completed"], 0.0),
        (["completed 1"], 0.0),
    ],
)
def test_the_busy_time(messages: list[str], expected: float) -> None:
    counted = jobs()
    assert observed(counted, 500, 0) == 0.0
    feed(counted, *messages)
    counted.advance(2000)
    counted.advance(1500)
    assert counted.events().busy_seconds == pytest.approx(expected)


def test_an_attempt_that_is_retried_is_busy_until_its_end_is_noticed() -> None:
    counted = jobs()
    observed(counted, 900, 0)
    feed(counted, "active 1", "active 2")
    assert observed(counted, 2000, 1) == 1.0 + 0.9
    assert observed(counted, 3000, 1) == 1.9 + 1.0
    counted.feed(ChannelMessage(b"bull:q:", "active", b"1", 50), 4000)  # its backoff has ended
    counted.advance(5000)
    assert counted.events().busy_seconds == 1.9 + 2 * 1.0 + 2 * 1.0


def test_jobs_that_start_while_the_active_ones_are_counted_are_busy() -> None:
    counted = jobs()
    remembered = counted.running
    feed(counted, "active 1", "active 2")
    counted.observe_active(0, 900, remembered)
    counted.advance(1900)
    assert counted.events().busy_seconds == 2.0


def test_a_time_without_a_subscription_is_not_busy() -> None:
    counted = jobs()
    observed(counted, 900, 0)
    feed(counted, "active 1", "active 2")
    counted.advance(1200)
    counted.interrupt()
    counted.feed(ChannelMessage(b"bull:q:", "active", b"3", 50), 90_000)
    counted.begin_active()
    counted.seed_active([b"2", b"3"])
    before = counted.events().busy_seconds
    assert before == 0.3
    assert observed(counted, 100_000, None) == before
    counted.advance(101_000)
    assert counted.events().busy_seconds == before + 2.0


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.sampled_from(("active", "waiting", "completed", "failed", "stalled")), st.integers(0, 4)
            ),
            st.sampled_from(("interrupt", "advance", "observe", "seed", "lose", "prune")),
        ),
        max_size=60,
    ),
    st.data(),
)
def test_the_busy_time_never_falls(changes: list[tuple[str, int] | str], data: st.DataObject) -> None:
    counted, before = jobs(), 0.0
    for change in changes:
        ms, number = data.draw(st.integers(0, 10_000)), data.draw(st.integers(0, 5))
        match change:
            case (str(kind), int(job)):
                counted.feed(ChannelMessage(b"bull:q:", kind, b"%d" % job, 50), ms)
            case "interrupt":
                counted.interrupt()
            case "advance":
                counted.advance(ms)
            case "observe":
                counted.observe_active(number, ms, counted.running)
            case "seed":
                counted.begin_active()
                counted.seed_active([b"%d" % number])
            case "lose":
                counted.lose(number)
            case "prune":
                counted.prune(ms, waiting=True, active=False)
        now = counted.events().busy_seconds
        assert now is not None
        assert now >= before
        before = now
