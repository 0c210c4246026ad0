"""The concurrency of workers, from what was seen while jobs waited."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.concurrency import MEASURED_SECONDS, ConcurrencyHistory, active_per_worker
from exporter.derived import worker_concurrency, worker_utilization
from exporter.snapshot.queues import QueueId, QueueState
from tests.support.assessments import queue


def busy(active: int | None, workers: int | None = 2, waiting: int | None = 5, **more: Any) -> QueueState:
    return queue(active=active, workers=workers, waiting=waiting, prioritized=0, **more)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (busy(8), 4.0),
        (busy(7), 3.5),
        (busy(8, waiting=0), None),  # they could run more, if there were more
        (busy(0), None),  # nothing is taken: paused, rate limited or dead in a way that is not known
        (busy(8, workers=0), None),
        (busy(8, workers=None), None),
        (busy(None), None),
        (busy(8, waiting=None), None),
        (busy(8, paused=True), None),
        (busy(8, concurrency_limit=8), None),
        (busy(8, rate_limit_ttl=2.5), None),
        (busy(8, rate_limit_ttl=0.0), 4.0),
        (busy(8, oldest_waiting=0.02), None),  # about to be taken by a worker that is free
        (busy(8, oldest_waiting=None), None),
    ],
)
def test_only_workers_at_their_limit_are_measured(state: QueueState, expected: float | None) -> None:
    assert active_per_worker(state) == expected


def measured(history: ConcurrencyHistory, at: float, state: QueueState) -> float | None:
    return history.measured(at, {state.id: state}, [state.id]).get(state.id)


def test_the_highest_of_an_hour() -> None:
    history = ConcurrencyHistory()
    assert measured(history, 0, busy(0, waiting=0)) is None
    assert measured(history, 10, busy(8)) == 4.0
    assert measured(history, 20, busy(6)) == 4.0
    assert measured(history, 400, busy(10)) == 5.0
    assert measured(history, 400 + MEASURED_SECONDS - 1, busy(2, waiting=0)) == 5.0
    assert measured(history, 400 + MEASURED_SECONDS, busy(2, waiting=0)) is None


def test_jobs_of_workers_that_have_just_ended_do_not_count() -> None:
    history = ConcurrencyHistory()
    assert measured(history, 0, busy(8, workers=4)) == 2.0
    assert measured(history, 5, busy(8, workers=1)) == 2.0, "three ended, and their jobs are still active"
    assert measured(history, 30, busy(8, workers=None)) == 2.0
    assert measured(history, 64, busy(8, workers=1)) == 2.0
    assert measured(history, 66, busy(3, workers=1)) == 3.0


def test_a_queue_that_is_gone_is_forgotten() -> None:
    history = ConcurrencyHistory()
    measured(history, 0, busy(8))
    history.measured(1, {}, [busy(8).id])
    assert measured(history, 2, busy(1, waiting=0)) is None


@given(
    st.lists(
        st.tuples(
            st.dictionaries(
                st.sampled_from("ab"),
                st.builds(
                    busy,
                    st.sampled_from([None, 0, 4, 8]),
                    workers=st.sampled_from([None, 0, 1, 2]),
                    waiting=st.sampled_from([0, 5]),
                    oldest_waiting=st.sampled_from([None, 0.5, 30.0]),
                ),
            ),
            st.sampled_from([5, 70, 400, 2000]),
        ),
        max_size=12,
    )
)
def test_what_does_not_change_is_measured_all_the_same(
    steps: list[tuple[dict[str, QueueState], int]],
) -> None:
    all_of_them, those_changed, at = ConcurrencyHistory(), ConcurrencyHistory(), 0.0
    before: dict[QueueId, QueueState] = {}
    for some, seconds in steps:
        at += seconds
        states = {QueueId("bull", name): state for name, state in some.items()}
        still = {queue: state._replace(oldest_waiting=None) for queue, state in states.items()}
        changed = {queue for queue in before | still if before.get(queue) != still.get(queue)}
        expected = all_of_them.measured(at, states, before | states)
        assert those_changed.measured(at, states, changed) == expected
        before = still


def test_a_queue_whose_workers_fell_once_is_not_looked_at_for_ever() -> None:
    """A deployment lets the workers of every queue fall."""
    looked_at: list[QueueId] = []

    class States(dict[QueueId, QueueState]):
        def get(self, queue: QueueId, default: object = None) -> Any:
            looked_at.append(queue)
            return super().get(queue, default)

    history, idle = ConcurrencyHistory(), busy(0, workers=1, waiting=0)
    measured(history, 0, busy(0, workers=2, waiting=0))
    measured(history, 10, idle)
    for at in (60, 70, 80):
        history.measured(at, States({idle.id: idle}), ())
    assert looked_at == [idle.id] * 2


def test_a_setting_counts_before_a_measurement() -> None:
    seen = busy(4, workers=2)._replace(measured_concurrency=4.0)
    assert (worker_concurrency(seen), worker_utilization(seen)) == (4.0, 0.5)
    told = seen._replace(worker_concurrency=2)
    assert (worker_concurrency(told), worker_utilization(told)) == (2, 1.0)
    assert worker_utilization(busy(4)) is None
