"""Facts that follow from what was read: one definition each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.derived import (
    QueueTotals,
    hit_ratio,
    queue_load_factor,
    replication_lags,
    totals,
    waiting_jobs,
    worker_utilization,
)
from exporter.snapshot.queues import AllRates, BullMQState, JobCounts, QueueId, QueueState, Rates
from exporter.snapshot.redis import Info, NodeReading, RedisState, Topology, TopologyNode
from service.outcome import Failed, Ok
from tests.support.assessments import queue

counts = st.builds(JobCounts, *[st.integers(0, 10**9)] * len(JobCounts._fields))
STATES = ("delayed", "waiting_children", "completed", "failed")


def loaded(waiting: int, prioritized: int, active: int, workers: int | None, capacity: float) -> QueueState:
    return queue(
        waiting=waiting,
        prioritized=prioritized,
        active=active,
        workers=workers,
        capacity_per_worker=capacity,
    )


@given(counts)
def test_waiting_is_what_a_worker_could_take_now(jobs: JobCounts) -> None:
    assert waiting_jobs(jobs) == (jobs.waiting or 0) + (jobs.prioritized or 0)
    for state in STATES:
        assert waiting_jobs(jobs._replace(**{state: getattr(jobs, state) + 1})) == waiting_jobs(jobs)


@pytest.mark.parametrize(
    ("queue", "factor"),
    [
        (loaded(10, 0, 10, 4, 10), 0.5),
        (loaded(0, 10, 10, 4, 10), 0.5),
        (loaded(0, 1000, 2, 2, 5), 1.0),
        (loaded(0, 1000, 0, 0, 5), 1.0),
        (loaded(0, 0, 0, 0, 5), 0.0),
        (loaded(3, 3, 3, None, 10), None),
    ],
)
def test_load_factor_counts_prioritized_jobs(queue: QueueState, factor: float | None) -> None:
    assert queue_load_factor(queue) == factor


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(0, 9), st.floats(0.1, 99))
def test_a_prioritized_job_is_as_much_load_as_a_waiting_one(
    waiting: int, prioritized: int, active: int, workers: int, capacity: float
) -> None:
    factor = queue_load_factor(loaded(waiting, prioritized, active, workers, capacity))
    assert factor is not None
    assert 0 <= factor <= 1
    assert factor == queue_load_factor(loaded(prioritized, waiting, active, workers, capacity))
    assert factor == queue_load_factor(loaded(active, prioritized, waiting, workers, capacity))


@pytest.mark.parametrize(
    ("active", "workers", "concurrency", "ratio"),
    [(4, 2, 4, 0.5), (9, 2, 4, 1.0), (0, 2, 4, 0.0), (4, 0, 4, None), (4, None, 4, None), (4, 2, None, None)],
)
def test_worker_utilization(
    active: int, workers: int | None, concurrency: int | None, ratio: float | None
) -> None:
    assert worker_utilization(queue(active=active, workers=workers, worker_concurrency=concurrency)) == ratio


@given(st.integers(0, 10**9), st.integers(1, 10**6), st.integers(1, 10**4))
def test_utilization_is_a_ratio_of_the_slots(active: int, workers: int, concurrency: int) -> None:
    ratio = worker_utilization(queue(active=active, workers=workers, worker_concurrency=concurrency))
    assert ratio == min(1.0, active / (workers * concurrency))


@given(st.lists(counts, max_size=5))
def test_totals_are_sums_and_waiting_includes_prioritized(listed: list[JobCounts]) -> None:
    sums = totals(listed)
    assert sums.waiting == sum(waiting_jobs(jobs) or 0 for jobs in listed)
    for name in set(QueueTotals._fields) - {"waiting"}:
        assert getattr(sums, name) == sum(getattr(jobs, name) for jobs in listed)


def test_failed_jobs_are_those_of_the_source_that_knows_more() -> None:
    rates = Rates(300, 1, 1, None, 7, 0)
    mail = queue().id

    def failed(in_set: int | None, read: Rates | None = rates) -> dict[QueueId, int]:
        of_stream = {mail: read} if read else {}
        return dict(BullMQState((queue(failed_last_hour=in_set),), rates=of_stream).failed_last_hour)

    assert failed(3) == {mail: 7}
    assert failed(9) == {mail: 9}
    assert failed(3, None) == {mail: 3}
    assert failed(None) == {mail: 7}
    assert failed(0, None) == {}
    assert BullMQState((), rates={mail: rates}).failed_last_hour == {}, "it could not be read this time"


def redis(master: str | None, replica: str | None) -> RedisState:
    nodes = (TopologyNode("a:1", "master", "0"), TopologyNode("b:1", "replica", "0", master="a:1"))
    offsets = {"a:1": ("master_repl_offset", master), "b:1": ("slave_repl_offset", replica)}
    readings = {
        address: Failed("timeout", "no answer in time")
        if offset is None
        else Ok(NodeReading(Info({field: offset})))
        for address, (field, offset) in offsets.items()
    }
    return RedisState(Topology("cluster", nodes), readings)


@pytest.mark.parametrize(
    ("master", "replica", "lags"),
    [
        ("100", "90", {"b:1": ("a:1", 10.0)}),
        ("100", "110", {"b:1": ("a:1", 0.0)}),
        ("100", "x", {}),
        (None, "90", {}),
        ("100", None, {}),
    ],
)
def test_replication_lag(master: str | None, replica: str | None, lags: dict[str, tuple[str, float]]) -> None:
    assert replication_lags(redis(master, replica)) == lags


@pytest.mark.parametrize(
    ("hits", "misses", "ratio"), [(3, 1, 0.75), (0, 5, 0.0), (0, 0, None), (None, 1, None), (1, None, None)]
)
def test_hit_ratio(hits: float | None, misses: float | None, ratio: float | None) -> None:
    assert hit_ratio(hits, misses) == ratio


def test_of_a_queue_that_two_sources_have_the_rates_of_the_first_count() -> None:
    first, second = QueueId("bull", "first"), QueueId("bull", "second")
    new, old = Rates(60.0, 5.0, 0.0, 0.0, 7, 0), Rates(60.0, 0.0, 0.0, None, 0, 3)
    rates = AllRates({first: new}, {first: old, second: old}, {})
    assert dict(rates) == dict(rates.lively()) == {first: new, second: old}
    assert len(rates) == len(list(rates.lively())) == 2
    assert not AllRates({}, {})
