from __future__ import annotations

import pytest

from exporter.bullmq.search.workers import (
    StartsWithoutWorkers,
    Traces,
    count_or_doubt,
    locker,
    lockers_of,
    with_renewal,
)
from exporter.snapshot.queues import QueueId

MAIL = QueueId("bull", "mail")


def test_the_id_of_a_worker_in_a_lock() -> None:
    assert locker(b"0e3f-77:12") == locker(b"0e3f-77:13") == b"0e3f-77"
    assert locker(b"0e3f-77") == b"0e3f-77"  # Bull's
    assert locker(b"own:token") == b"own:token"
    assert lockers_of([b"a:1", None, b"a:2", b"b:1", ReferenceError()]) == {b"a", b"b"}


@pytest.mark.parametrize(
    ("traces", "cluster", "workers"),
    [
        (Traces(3, 0.0), False, 3),
        (Traces(3, 0.0), True, 3),
        (Traces(1, 0.0, 4, frozenset({b"a", b"b"}), 100), True, 2),
        (Traces(4, 0.0, 1, frozenset({b"a"}), 100), True, 4),
        (Traces(1, 0.0, 4, frozenset({b"a", b"b"}), 100), False, 1),  # one of them may have been killed
        (Traces(0, 0.0, 0, frozenset(), -2), False, 0),
        (Traces(0, 0.0, 5, frozenset(), -2), False, 0),  # their worker is gone
        (Traces(0, 0.0, 0, frozenset(), 9000), False, 0),
    ],
)
def test_known_numbers(traces: Traces, cluster: bool, workers: int) -> None:  # noqa: FBT001
    assert count_or_doubt(traces, cluster=cluster) == workers


@pytest.mark.parametrize(
    ("traces", "why"),
    [
        (Traces(0, 0.0, 2, frozenset({b"a"}), -2), "1 worker or more holds locks of active jobs"),
        (Traces(0, 0.0, 2, frozenset({b"a", b"b"}), -2), "2 workers or more hold locks of active jobs"),
        (Traces(0, 0.0, 0, frozenset(), 9, renewed=True), "a worker renews its stalled-check"),
        (Traces(0, 0.0, None, frozenset(), -2), "the locks of its jobs could not be read"),
        (Traces(0, 0.0, 0, frozenset(), None), "the locks of its jobs could not be read"),
    ],
)
def test_unknown_numbers(traces: Traces, why: str) -> None:
    assert count_or_doubt(traces, cluster=False) == f"no connection has the queue's name, and {why}"


def renewed(*looks: tuple[int, int]) -> list[bool]:
    """Whether it is renewed, at looks of (named workers, ms that remain of stalled-check) each 10 s."""
    results: list[bool] = []
    before = None
    for number, (named, check) in enumerate(looks):
        before = with_renewal(Traces(named, number * 10.0, 0, frozenset(), check), before)
        results.append(before.renewed)
    return results


def test_a_worker_without_a_name_renews_the_stalled_check() -> None:
    assert renewed((0, 25_000)) == [True]  # it may be one
    assert renewed((0, -2), (0, 28_000)) == [False, True]


def test_a_single_worker_may_leave_an_interval_out() -> None:
    """If its timer comes just before the key expires, there is none until the next time."""
    once = [(0, 25_000), (0, 15_000), (0, 5_000), (0, -2), (0, -2), (0, -2)]
    assert renewed((0, -2), *once, *once) == [False] + [True] * 12
    gone = renewed((0, -2), *once, *[(0, -2)] * 6)
    assert gone[7:] == [True, True, False, False, False, False]  # two intervals after it was seen, it is gone


def test_a_stopped_workers_stalled_check_runs_out() -> None:
    assert renewed((1, 25_000), (0, 15_000), (0, 5_000), (0, -2)) == [False] * 4
    assert renewed((1, 5_000), (0, 28_000), (0, 18_000)) == [False] * 3  # it renewed, then stopped
    assert renewed((1, 5_000), (0, 8_000), (0, 28_000)) == [False, False, True]


def doubted(starts: StartsWithoutWorkers, looked_at: float, started: int, at: float) -> bool:
    return MAIL in starts.doubts({MAIL: started}, looked_at, at)


def test_jobs_that_are_started_while_no_worker_is_known() -> None:
    starts = StartsWithoutWorkers()
    assert not doubted(starts, 100.0, 7, 101.0)
    assert not doubted(starts, 100.0, 9, 105.0)  # by a worker that stopped before the look
    assert doubted(starts, 110.0, 9, 111.0)
    assert doubted(starts, 120.0, 9, 170.0)
    assert not doubted(starts, 170.0, 9, 172.0)
    assert not starts.doubts({QueueId("bull", "other"): 1}, 170.0, 173.0)
    assert not doubted(starts, 180.0, 12, 181.0)


def test_a_queue_that_comes_between_two_looks() -> None:
    starts = StartsWithoutWorkers()
    assert not starts.doubts({}, 100.0, 101.0)
    assert not doubted(starts, 100.0, 7, 102.0)
    assert doubted(starts, 110.0, 8, 111.0)


def test_a_worker_that_stops_is_not_doubted() -> None:
    starts = StartsWithoutWorkers()
    assert not any(doubted(starts, 100.0 + look * 10, 50, 101.0 + look * 10) for look in range(9))
