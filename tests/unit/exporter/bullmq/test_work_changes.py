"""What is known of the work where a collection says what changed, compared with looking at all queues."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.bullmq.collect import changed_events
from exporter.bullmq.streams.events import Jobs
from exporter.bullmq.work import WorkHistory
from exporter.config.health import HealthSettings
from exporter.health import assess
from exporter.snapshot.queues import (
    BullMQState,
    Changes,
    Events,
    JobCounts,
    OwnCounts,
    QueueId,
    QueueState,
    Unlocked,
    Work,
)
from exporter.snapshot.whole import Snapshot
from service.outcome import Failed, Ok

QUEUES = tuple(QueueId("bull", name) for name in "abc")
COUNTERS = Jobs().counters()
SECONDS = (0.5, 10.0, 45.0, 90.0, 700.0, 5000.0, 90_000.0)


@dataclass(frozen=True)
class Facts:
    """A queue without its ages: the times that these follow from, in monotonic seconds. `caught_up`: when its
    stream was last read to its end; None: it is not followed."""

    state: QueueState
    oldest: float | None = None
    due: float | None = None
    events: Events | None = None
    caught_up: float = 0.0


@dataclass(frozen=True)
class Step:
    """What happens, and then a look `seconds` after the one before. None: the queue is not there."""

    seconds: float
    changes: dict[QueueId, Facts | None]
    unread: frozenset[QueueId] = frozenset()
    unlocked: dict[QueueId, int] = field(default_factory=dict)
    groups: frozenset[QueueId] = frozenset()
    read_to_end: frozenset[QueueId] = frozenset()
    missed: bool = False  # a collection in between failed, as far as the memory is concerned


numbers = st.sampled_from([0, 0, 1, 3])


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    jobs = JobCounts(*[draw(numbers) for _ in JobCounts._fields])
    state = QueueState(
        QUEUES[0],
        jobs,
        draw(st.sampled_from([False, False, False, True, None])),
        0,
        draw(numbers),
        0,
        0,
        workers=draw(st.sampled_from([0, 0, 2, None])),
        concurrency_limit=draw(st.sampled_from([None, None, None, 0, 1])),
        rate_limit_ttl=draw(st.sampled_from([None, None, 0.0, 2.5])),
    )
    started = draw(st.none() | numbers)
    events = None if started is None else Events(COUNTERS._replace(started=started), 0, draw(numbers), 0.0)
    ago = st.sampled_from(SECONDS)
    return Facts(
        state,
        -draw(ago) if jobs.waiting and draw(st.booleans()) else None,
        -draw(ago) if state.delayed_overdue and draw(st.booleans()) else None,
        events,
    )


some_queues = st.frozensets(st.sampled_from(QUEUES), max_size=1)
steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(SECONDS),
        st.dictionaries(st.sampled_from(QUEUES), st.none() | facts(), max_size=2)
        | st.just({}),  # most of the time nothing changes
        some_queues | st.just(frozenset()),
        st.dictionaries(st.sampled_from(QUEUES), st.sampled_from([1, 3]), max_size=1) | st.just({}),
        some_queues | st.just(frozenset()),
        st.frozensets(st.sampled_from(QUEUES)),
        st.sampled_from([False, False, False, True]),
    ),
    max_size=14,
)


def looks(of: list[Step]) -> list[tuple[float, BullMQState]]:
    """Each time, and the collection of it, with what changed since the one before."""
    at, number, changed = 1_000_000.0, 0, set[QueueId]()
    known: dict[QueueId, Facts] = {}
    events_before: dict[QueueId, Events] = {}
    states_before: dict[QueueId, QueueState] = {}
    listed = []
    for step in of:
        at += step.seconds
        for queue, each in step.changes.items():
            if each is None:
                known.pop(queue, None)
                continue
            known[queue] = Facts(
                each.state._replace(id=queue),
                None if each.oldest is None else at + each.oldest,
                None if each.due is None else at + each.due,
                each.events,
                at - 1.0,
            )
        for queue in step.read_to_end & known.keys():
            known[queue] = replace(known[queue], caught_up=at - 0.25)
        read = {queue: each for queue, each in known.items() if queue not in step.unread}
        states = {queue: each.state for queue, each in read.items()}
        events = {
            queue: each.events._replace(lag=at - each.caught_up)
            for queue, each in known.items()
            if each.events is not None
        }
        changed |= {queue for queue in QUEUES if states.get(queue) != states_before.get(queue)}
        changed |= changed_events(events_before, events)
        states_before, events_before = states, events
        number += 1
        state = BullMQState(
            tuple(aged(each, at) for each in read.values()),
            {queue: Failed("timeout", "no answer") for queue in step.unread & known.keys()},
            events=events,
            own={queue: OwnCounts(None, None, None, 2) for queue in step.groups},
            unlocked={queue: Unlocked(jobs, 40.0) for queue, jobs in step.unlocked.items() if queue in read},
            changes=Changes(number, frozenset(changed)),
        )
        changed = set()
        if not step.missed:
            listed.append((at, state))
    return listed


def aged(each: Facts, at: float) -> QueueState:
    return each.state._replace(
        oldest_waiting=None if each.oldest is None else at - each.oldest,
        longest_overdue=None if each.due is None else at - each.due,
    )


@settings(max_examples=400, deadline=None)
@given(steps)
def test_looking_at_what_changed_says_the_same_as_looking_at_all(of: list[Step]) -> None:
    by_changes, whole = WorkHistory(), WorkHistory()
    for at, state in looks(of):
        incremental = by_changes.extend(at, state)
        full = whole.extend(at, replace(state, changes=None))
        assert incremental.work == full.work
        health = HealthSettings()
        assert assess(Snapshot(at, bullmq=Ok(incremental)), health) == assess(
            Snapshot(at, bullmq=Ok(full)), health
        )


def test_which_events_changed() -> None:
    before = {queue: Events(COUNTERS, 0, 0, 1.0, busy_seconds=1.0) for queue in QUEUES}
    same = {queue: each._replace(lag=2.0, peak_rate=3.0, busy_seconds=2.0) for queue, each in before.items()}
    assert changed_events(before, same) == set()
    assert changed_events(before, {}) == set(QUEUES)
    assert changed_events({}, before) == set(QUEUES)
    a, b, c = QUEUES
    for fields in ({"lost": 1}, {"undone": 1}, {"gaps": 1}, {"since": 5.0}):
        other = same | {b: same[b]._replace(**fields)}
        assert changed_events(before, other) == {b}
    started = same | {c: same[c]._replace(counters=COUNTERS._replace(started=1))}
    del started[a]
    assert changed_events(before, started) == {a, c}


def test_a_queue_that_stands_still_is_not_looked_at_again() -> None:
    """Its clocks go on: what would be looked at says that it has workers, but not that it changed."""
    waiting = Facts(
        QueueState(QUEUES[0], JobCounts(1, 0, 0, 0, 0, 0, 0), False, 0, 0, 0, 0, workers=0),
        events=Events(COUNTERS, 0, 0, 0.0),
    )
    [(at, first), (later, second)] = looks([Step(10.0, {QUEUES[0]: waiting}), Step(10.0, {})])
    history = WorkHistory()
    history.extend(at, first)
    busy = replace(second, queues=tuple(queue._replace(workers=2) for queue in second.queues))
    assert history.extend(later, busy).work == {
        QUEUES[0]: Work(0.0, 10.0, standing_before=True, without_workers_before=True)
    }
    looked_at = history.extend(later, replace(busy, changes=None)).work or {}
    assert looked_at[QUEUES[0]].without_workers is None
