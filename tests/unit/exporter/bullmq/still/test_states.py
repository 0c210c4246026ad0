"""States that are kept while only their ages go on, compared with states that are put together each time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.counts import Counts
from exporter.bullmq.details import NEVER, Read, Since
from exporter.bullmq.still.states import QueueFacts, QueueStates, WorkerSettings
from exporter.snapshot.queues import JobCounts, Library, QueueId, QueueState

QUEUES = tuple(QueueId("bull", name) for name in "abc")
SETTINGS: Mapping[QueueId, WorkerSettings] = dict.fromkeys(QUEUES, (10.0, None))
NOW_MS = 1_700_000_000_000

small = st.integers(0, 2)
moments = st.none() | st.sampled_from([NOW_MS - 60_000.5, NOW_MS - 1_000.0, NOW_MS + 5_000.0])
reads = st.builds(
    lambda jobs, overdue, since: Read(
        Counts(JobCounts(*[jobs] * 7), 0, False, None, None, overdue, 0, 0, (), None), since, True
    ),
    small,
    small,
    st.builds(Since, moments, moments, moments, moments),
)
facts = st.builds(
    QueueFacts,
    st.none() | st.dictionaries(st.sampled_from(QUEUES), small),
    st.dictionaries(st.sampled_from(QUEUES), st.sampled_from(get_args(Library))),
    st.dictionaries(st.sampled_from(QUEUES), st.just("nobody knows")),
)


def state_of(read: Read, **known: object) -> QueueState:
    states = QueueStates()
    states.update({QUEUES[0]: read}, QueueFacts(**known), SETTINGS)  # type: ignore[arg-type]
    return aged(states, NOW_MS)[QUEUES[0]]


def aged(states: QueueStates, now_ms: int) -> dict[QueueId, QueueState]:
    return states.aged([(now_ms, states.aging)])


def test_ages() -> None:
    counts = Counts(JobCounts(1, 1, 1, 0, 1, 0, 0), 0, False, None, None, 1, 0, 0, (), None)
    since = Since(NOW_MS - 2_500.0, NOW_MS + 10_000.0, NOW_MS - 60_000.0, NOW_MS - 500.0)
    state = state_of(Read(counts, since, whole=True))
    assert state.oldest_waiting == 2.5
    assert state.longest_active == 0.0  # a clock that is ahead makes no age below 0
    assert state.longest_overdue == 60.0
    assert state.longest_waiting_children == 0.5
    none_due = state_of(Read(counts._replace(delayed_overdue=0), since, whole=True))
    assert none_due.longest_overdue is None


def test_a_queue_without_a_job_is_the_same_object() -> None:
    counts = Counts(JobCounts(*[0] * 7), 0, False, None, None, 0, 0, 0, (), None)
    states, read = QueueStates(), {QUEUES[0]: Read(counts, NEVER, whole=True)}
    states.update(read, QueueFacts(), SETTINGS)
    first = aged(states, NOW_MS)[QUEUES[0]]
    assert states.update(dict(read), QueueFacts({}), SETTINGS) == set()
    assert aged(states, NOW_MS + 1)[QUEUES[0]] is first
    assert states.update(dict(read), QueueFacts({QUEUES[0]: 2}), SETTINGS) == {QUEUES[0]}
    assert aged(states, NOW_MS + 2) == {QUEUES[0]: first._replace(workers=2)}
    assert states.update({}, QueueFacts(), SETTINGS) == {QUEUES[0]}


collections = st.lists(
    st.tuples(st.dictionaries(st.sampled_from(QUEUES), reads), facts, st.booleans(), st.booleans()),
    max_size=8,
)


@given(collections)
def test_what_is_kept_is_as_put_together_anew(
    steps: list[tuple[dict[QueueId, Read], QueueFacts, bool, bool]],
) -> None:
    kept = QueueStates()
    before: tuple[dict[QueueId, Read], QueueFacts] = ({}, QueueFacts())
    states: dict[QueueId, QueueState] = {}
    for number, (some, facts_now, same_reads, same_facts) in enumerate(steps):
        # Most of what is read is what was read before, by the same objects.
        read = (before[0] | some) if same_reads else some
        known = before[1] if same_facts else facts_now
        changed = kept.update(dict(read), known, SETTINGS)
        now_ms = NOW_MS + number * 1000
        new = QueueStates()
        new.update(read, known, SETTINGS)
        fresh = aged(new, now_ms)
        assert aged(kept, now_ms) == fresh
        assert {*kept.without_workers} == {queue for queue in fresh if fresh[queue].workers == 0}
        still = {queue: without_ages(state) for queue, state in fresh.items()}
        assert changed >= {queue for queue in QUEUES if states.get(queue) != still.get(queue)}
        before, states = (read, known), still


def without_ages(state: QueueState) -> QueueState:
    return state._replace(
        oldest_waiting=None, longest_active=None, longest_overdue=None, longest_waiting_children=None
    )
