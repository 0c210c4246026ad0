from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.streams.events import Jobs
from exporter.bullmq.work import ENOUGH_LOST, WorkHistory
from exporter.snapshot.queues import (
    BullMQState,
    Events,
    JobCounts,
    OwnCounts,
    QueueId,
    QueueState,
    Unlocked,
    Work,
)
from service.outcome import Failed

MAIL = QueueId("bull", "mail")
COUNTERS = Jobs().counters()


def queue(**fields: object) -> QueueState:
    """A queue with a waiting job and no worker; `fields` are those of QueueState or of its JobCounts."""
    state = QueueState(MAIL, JobCounts(1, 0, 0, 0, 0, 0, 0), False, 0, 0, 0, 0, workers=0)
    counts = {name: fields.pop(name) for name in JobCounts._fields if name in fields}
    jobs = state.jobs._replace(**counts)  # type: ignore[arg-type]
    return state._replace(jobs=jobs, **fields)  # type: ignore[arg-type]


def events(started: int = 0, lag: float = 0.0, **fields: object) -> Events:
    state = Events(COUNTERS._replace(started=started), 0, 0, lag)
    return state._replace(**fields)  # type: ignore[arg-type]


Look = tuple[float, QueueState | None, Events | None]


def fold(*looks: Look, groups: int | None = None, lost: int = 0) -> Work:
    """What is known of the queue after these looks at it, each at a time; without a state it is unread."""
    history, work = WorkHistory(), Work()
    own = {} if groups is None else {MAIL: OwnCounts(None, None, None, groups)}
    for at, state, stream in looks:
        read = BullMQState(
            () if state is None else (state,),
            {MAIL: Failed("timeout", "no answer")} if state is None else {},
            events=None if stream is None else {MAIL: stream},
            own=own,
            unlocked={MAIL: Unlocked(lost, 5.0)} if lost else {},
        )
        works = history.extend(at, read).work
        assert works is not None
        work = works.get(MAIL, Work())
    return work


def every_ten_seconds(state: QueueState, seconds: int, stream: Events | None = None) -> list[Look]:
    return [(float(at), state, stream) for at in range(0, seconds + 1, 10)]


# --- standing still --------------------------------------------------------------------------------------

NOT_STANDING = {
    "nothing to do": queue(waiting=0),
    "children are awaited": queue(waiting=0, waiting_children=7),
    "delayed to later": queue(waiting=0, delayed=7),
    "paused": queue(paused=True),
    "a pause is not known": queue(paused=None),
    "rate-limited": queue(rate_limit_ttl=3.0),
    "at the global concurrency": queue(active=2, concurrency_limit=2, workers=1),
    "at the global concurrency, and workers are not known": queue(
        active=2, concurrency_limit=2, workers=None
    ),
    "at the global concurrency, and active jobs are not known": queue(
        active=None, concurrency_limit=2, workers=1
    ),
    "a global concurrency of 0": queue(concurrency_limit=0),
    "waiting jobs are not known": queue(waiting=None),
    "active jobs are not known, workers neither": queue(active=None, workers=None),
    "workers have a job": queue(active=1, workers=2),
}


@pytest.mark.parametrize("state", NOT_STANDING.values(), ids=NOT_STANDING)
@pytest.mark.parametrize("stream", [None, events()], ids=["without events", "with events"])
def test_not_standing(state: QueueState, stream: Events | None) -> None:
    assert fold(*every_ten_seconds(state, 900, stream)).standing is None


def test_groups_of_bullmq_pro_are_not_judged() -> None:
    assert fold(*every_ten_seconds(queue(), 900, events()), groups=2).standing is None


def test_where_bullmq_pro_has_no_group_its_queues_are_judged() -> None:
    assert fold(*every_ten_seconds(queue(), 900, events()), groups=0).standing == 900


STANDING = {
    "a waiting job": queue(),
    "prioritized jobs": queue(waiting=0, prioritized=3),
    "overdue delayed jobs": queue(waiting=0, delayed=3, delayed_overdue=3),
    "below the global concurrency": queue(concurrency_limit=2),
    "a rate limit that is not reached": queue(rate_limit_ttl=0.0),
    "workers that take nothing": queue(workers=2),
    "workers are not known": queue(workers=None),
    "active jobs that nobody has": queue(active=2),
    "jobs that nobody has fill the global concurrency": queue(active=2, concurrency_limit=2),
    "some jobs are known to wait": queue(prioritized=None),
}


@pytest.mark.parametrize("state", STANDING.values(), ids=STANDING)
def test_standing(state: QueueState) -> None:
    assert fold(*every_ten_seconds(state, 900, events())).standing == 900


@pytest.mark.parametrize(("lost", "standing"), [(0, None), (1, None), (2, 900), (3, 900)])
def test_active_jobs_without_a_lock_are_no_work(lost: int, standing: float | None) -> None:
    state = queue(active=2, workers=2)
    assert fold(*every_ten_seconds(state, 900, events()), lost=lost).standing == standing


def test_very_many_active_jobs_without_a_lock_are_no_work_although_there_are_more() -> None:
    state = queue(active=9_000, workers=90)
    assert fold(*every_ten_seconds(state, 900, events()), lost=ENOUGH_LOST).standing == 900
    assert fold(*every_ten_seconds(state, 900, events()), lost=ENOUGH_LOST - 1).standing is None


@pytest.mark.parametrize(("lost", "standing"), [(0, None), (1, None), (2, 900)])
def test_jobs_without_a_lock_fill_no_global_concurrency(lost: int, standing: float | None) -> None:
    state = queue(active=2, workers=2, concurrency_limit=2)
    assert fold(*every_ten_seconds(state, 900, events()), lost=lost).standing == standing


def test_a_start_begins_the_time_again() -> None:
    looks = every_ten_seconds(queue(workers=1), 900, events(5))
    later = [(at + 910, state, events(6)) for at, state, _ in every_ten_seconds(queue(workers=1), 50)]
    assert fold(*looks, *later).standing == 50


@pytest.mark.parametrize("change", [{"lost": 1}, {"gaps": 1}, {"undone": 1}, {"since": 5.0}])
def test_events_that_are_missing_may_have_been_starts(change: dict[str, float]) -> None:
    assert fold((0, queue(), events(5)), (500, queue(), events(5, **change))).standing == 0


def test_a_stream_that_is_behind_is_known_up_to_where_it_was_read() -> None:
    assert fold((0, queue(), events()), (100, queue(), events(lag=70.0))).standing == 30
    assert fold((0, queue(), events()), (100, queue(), events(lag=700.0))).standing == 0


def test_what_was_known_is_known_although_the_stream_falls_behind() -> None:
    looks: list[Look] = [(0, queue(), events()), (100, queue(), events()), (110, queue(), events(lag=50.0))]
    assert fold(*looks).standing == 100
    assert fold(*looks, (200, queue(), events(1))).standing == 0


@pytest.mark.parametrize(
    ("state", "later", "standing"),
    [
        (queue(oldest_waiting=5.0, workers=1), queue(oldest_waiting=305.0, workers=1), 300),
        (queue(oldest_waiting=5.0, workers=1), queue(oldest_waiting=9.0, workers=1), 0),
        (
            queue(oldest_waiting=5.0, workers=1, waiting=9),
            queue(oldest_waiting=305.0, workers=1, waiting=8),
            0,
        ),
        (queue(oldest_waiting=5.0, workers=1), queue(oldest_waiting=305.0, workers=1, completed=1), 0),
        (queue(oldest_waiting=5.0, workers=1), queue(oldest_waiting=305.0, workers=1, failed=1), 0),
        # The same job may look up to 2 s younger than it is: the clocks of two looks differ.
        (queue(oldest_waiting=5.0, workers=1), queue(oldest_waiting=303.0, workers=1), 300),
        (queue(oldest_waiting=5.0, workers=1), queue(oldest_waiting=302.9, workers=1), 0),
        (queue(workers=1), queue(workers=1), 0),
        (queue(workers=None), queue(workers=None), 0),
        (queue(workers=0), queue(workers=0), 300),
        (queue(oldest_waiting=5.0), queue(oldest_waiting=305.0, waiting=90), 300),
    ],
)
def test_without_events_the_counts_and_the_oldest_job_show_a_start(
    state: QueueState, later: QueueState, standing: float
) -> None:
    assert fold((0, state, None), (300, later, None)).standing == standing


def test_a_stream_that_is_not_known_for_a_while_does_not_end_it() -> None:
    waits = [queue(oldest_waiting=float(at), workers=1) for at in (5, 305, 605)]
    looks: list[Look] = [(0, waits[0], events(3)), (300, waits[1], None), (600, waits[2], events(3))]
    assert fold(*looks).standing == 600
    assert fold(*looks[:2], (600, waits[2], events(4))).standing == 0


def test_a_queue_that_cannot_be_read_for_a_while_stands_on() -> None:
    assert fold((0, queue(), events()), (30, None, None), (60, queue(), events())).standing == 60


def test_a_queue_that_was_gone_is_new() -> None:
    history = WorkHistory()
    history.extend(0, BullMQState((queue(),)))
    assert history.extend(30, BullMQState(())).work == {}
    assert history.extend(60, BullMQState((queue(),))).work == {
        MAIL: Work(0, 0, standing_before=True, without_workers_before=True)
    }


# --- before the first look -------------------------------------------------------------------------------


def test_what_is_so_at_the_first_look_may_have_been_before() -> None:
    assert fold((0, queue(), events()), (50, queue(), events())) == Work(
        50, 50, standing_before=True, without_workers_before=True
    )
    held = fold((0, queue(paused=True), events()), (50, queue(paused=True), events()))
    assert held == Work(None, 50, 50, without_workers_before=True, paused_before=True)


def test_what_begins_later_was_not_so_before() -> None:
    busy = queue(workers=1, active=1)
    work = fold((0, busy, events()), (10, queue(), events()), (50, queue(), events()))
    assert work == Work(40, 40)
    started = fold((0, queue(workers=1), events()), (10, queue(workers=1), events(1)))
    assert started == Work(0)
    resumed = fold((0, queue(paused=True), events()), (10, queue(), events()))
    assert resumed == Work(0, 10, without_workers_before=True)


def test_a_queue_that_could_not_be_read_at_first_is_first_looked_at_later() -> None:
    assert fold((0, None, None), (30, queue(), events())).standing_before
    assert not fold(
        (0, queue(waiting=0, workers=1), None), (30, None, None), (60, queue(), None)
    ).standing_before


def test_a_global_concurrency_of_0_is_a_pause() -> None:
    idle = queue(waiting=0, workers=1)
    looks: list[Look] = [(0, idle, None), (10, idle._replace(concurrency_limit=0), None)]
    assert fold(*looks) == Work(paused=0)
    assert fold(*looks, (30, idle._replace(concurrency_limit=0), None)) == Work(paused=20)
    assert fold(*looks, (30, idle._replace(concurrency_limit=1), None)) == Work()


# --- workers and pauses ----------------------------------------------------------------------------------


def test_without_workers_counts_from_the_first_look_that_saw_none() -> None:
    idle = queue(waiting=0)
    assert fold((0, idle, None), (40, idle, None)).without_workers == 40
    assert fold((0, idle, None), (20, idle._replace(workers=1), None), (40, idle, None)).without_workers == 0


def test_workers_that_are_not_known_for_a_moment_do_not_begin_it_again() -> None:
    idle = queue(waiting=0)
    unknown = idle._replace(workers=None)
    assert fold((0, idle, None), (40, unknown, None)).without_workers == 0
    assert fold((0, idle, None), (40, unknown, None), (50, idle, None)).without_workers == 50
    assert fold((0, idle, None), (61, unknown, None)).without_workers is None
    assert fold((0, unknown, None), (300, unknown, None)).without_workers is None


def test_paused_since() -> None:
    held = queue(paused=True)
    assert fold((0, held, None), (40, held, None)).paused == 40
    assert fold((0, held, None), (40, held._replace(paused=None), None)).paused == 40
    assert fold((0, held, None), (20, queue(), None), (40, held, None)).paused == 0


# --- overdue ---------------------------------------------------------------------------------------------


def late(seconds: float, **fields: object) -> QueueState:
    given = {"waiting": 0, "delayed": 1, "delayed_overdue": 1, "longest_overdue": seconds, "workers": 1}
    return queue(**given | fields)


@pytest.mark.parametrize(
    ("looks", "overdue"),
    [
        ([(0, late(70), events())], 70),
        ([(0, late(70), None)], 70),
        ([(0, late(70, workers=None), None)], 70),
        ([(0, late(70, workers=0), events())], None),
        ([(0, late(70, paused=True), events())], None),
        ([(0, late(70, rate_limit_ttl=1.0), events())], None),
        # All slots are full: it waits like any other.
        ([(0, late(10, active=1), events(5)), (60, late(70, active=1), events(5))], None),
        ([(0, late(10, active=1), events(5)), (60, late(70, active=1), None)], None),
        ([(0, late(10, active=1), events(5)), (60, late(70, active=1), events(6))], 70),
        ([(0, late(10, active=1), events(5)), (60, late(20, active=1), events(6))], None),
        ([(0, late(10, active=None), events(5))], None),
    ],
)
def test_overdue(looks: list[Look], overdue: float | None) -> None:
    assert fold(*looks).overdue == overdue


# --- properties ------------------------------------------------------------------------------------------

STATES = st.builds(
    queue,
    waiting=st.sampled_from([None, 0, 1, 5]),
    active=st.sampled_from([None, 0, 1]),
    prioritized=st.sampled_from([None, 0, 2]),
    workers=st.sampled_from([None, 0, 0, 1]),
    paused=st.sampled_from([None, False, False, True]),
    rate_limit_ttl=st.sampled_from([None, 0.0, 4.0]),
    concurrency_limit=st.sampled_from([None, 1]),
    oldest_waiting=st.sampled_from([None, 0.0, 50.0]),
    longest_overdue=st.sampled_from([None, 0.0, 90.0]),
)
STREAMS = st.none() | st.builds(events, st.integers(0, 2), st.sampled_from([0.0, 5.0]))
Step = tuple[float, QueueState, Events | None]
STEPS = st.lists(st.tuples(st.floats(0.1, 400), STATES, STREAMS), min_size=1, max_size=12)


@given(STEPS)
def test_nothing_lasts_longer_than_it_is_watched(steps: list[Step]) -> None:
    at = 0.0
    looks: list[Look] = []
    for seconds, state, stream in steps:
        at += seconds
        looks.append((at, state, stream))
    work = fold(*looks)
    watched = looks[-1][0] - looks[0][0]
    for known in (work.standing, work.without_workers, work.paused):
        assert known is None or 0 <= known <= watched + 1e-9


@given(STEPS, STATES, STREAMS, st.sampled_from([queue(), queue(paused=True)]))
def test_what_is_not_so_now_has_no_time(
    steps: list[Step], state: QueueState, stream: Events | None, last: QueueState
) -> None:
    quiet = state._replace(paused=last.paused, jobs=JobCounts(0, 0, 0, 0, 0, 0, 0), delayed_overdue=0)
    work = fold(*[(float(at), *step[1:]) for at, step in enumerate(steps)], (1000.0, quiet, stream))
    assert work.standing is None
    assert (work.paused is None) == (not last.paused)


@given(STEPS)
def test_other_queues_change_nothing(steps: list[Step]) -> None:
    alone, crowded = WorkHistory(), WorkHistory()
    for at, (_, state, stream) in enumerate(steps):
        other = state._replace(id=QueueId("bull", "other"), paused=at % 2 == 0)
        streams = {} if stream is None else {MAIL: stream}
        read = BullMQState((state,), events=streams)
        first = alone.extend(float(at), read).work
        second = crowded.extend(float(at), replace(read, queues=(other, state))).work
        assert first is not None
        assert second is not None
        assert first.get(MAIL) == second.get(MAIL)
