from __future__ import annotations

from collections.abc import Sequence
from math import inf
from random import Random
from typing import Any

import pytest

from scaler.prometheus.histogram import p99_of, run_time_p99s, run_time_query
from scaler.prometheus.promql import QueueKey
from service.outcome import UnreadableError

BOUNDS = (0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0, 300.0, inf)


def histogram(seconds: Sequence[float]) -> dict[float, float]:
    return {bound: float(sum(run <= bound for run in seconds)) for bound in BOUNDS}


def p99(*seconds: float) -> float | None:
    return p99_of(histogram(seconds), sum(seconds))


def test_three_jobs_of_a_hundred_are_the_slowest() -> None:
    known = p99(*[0.05] * 97, *[3.0] * 3)
    assert known == pytest.approx(2.6, abs=0.1)
    assert p99(*[0.05] * 997, *[3.0] * 3) == pytest.approx(0.1, abs=0.05)


@pytest.mark.parametrize("seconds", [31.0, 57.0, 70.0, 290.0])
def test_jobs_that_all_take_as_long_are_not_said_to_take_longer(seconds: float) -> None:
    assert p99(*[seconds] * 1000) == pytest.approx(seconds)
    assert p99_of(histogram([seconds] * 1000)) == pytest.approx(60 if seconds < 60 else 300, rel=0.02)


def test_a_few_jobs_that_take_as_long_are_not_said_to_take_much_longer() -> None:
    known = p99(*[0.6] * 970, *[70.0] * 30)
    assert known is not None
    assert 60 <= known < 80


def test_of_jobs_whose_run_times_vary_it_is_low_rather_than_high() -> None:
    random = Random(1)
    for mean in (0.5, 2.0, 20.0):
        runs = sorted(random.expovariate(1 / mean) for _ in range(20_000))
        known = p99(*runs)
        assert known is not None
        assert 0.4 < known / runs[19_800] < 1.1


def test_over_the_largest_bound_no_more_is_known_than_that_it_is_over() -> None:
    assert p99(*[3600.0] * 5) == 300.0
    assert p99(*[1.0] * 90, *[7200.0] * 10) == 300.0


@pytest.mark.parametrize("buckets", [{}, {inf: 0.0}, {1.0: 5.0}, dict.fromkeys(BOUNDS, 0.0)])
def test_without_attempts_it_is_not_known(buckets: dict[float, float]) -> None:
    assert p99_of(buckets, 0.0) is None


def test_rates_that_do_not_rise_by_a_rounding_are_read() -> None:
    buckets = {1.0: 0.50001, 2.5: 0.5, inf: 0.49999}
    assert p99_of(buckets, 0.4) == pytest.approx(0.8, abs=0.2)


def series(name: str, seconds: Sequence[float], **labels: str) -> list[dict[str, Any]]:
    source = {"prefix": "bull", "queue": name, "job": "oxherd", **labels}
    buckets = [
        {"metric": source | {"le": str(bound)}, "value": [5.0, str(count)]}
        for bound, count in histogram(seconds).items()
    ]
    return [*buckets, {"metric": source, "value": [5.0, str(float(sum(seconds)))]}]


def test_each_queue_has_its_own_and_of_several_exporters_the_longest() -> None:
    answer = [
        *series("mail", [0.05] * 10, instance="a"),
        *series("mail", [57.0] * 10, instance="b"),
        *series("video", [200.0]),
        *series("idle", []),
    ]
    assert run_time_p99s(answer) == {QueueKey("bull", "mail"): 57.0, QueueKey("bull", "video"): 200.0}


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {},
        {"metric": {"le": "x"}, "value": [1, "1"]},
        {"metric": {}, "value": [1, "NaN"]},
        {"metric": {"le": "+Inf"}, "value": [1, "1"]},
    ],
)
def test_what_is_no_histogram_of_queues_is_an_error(entry: object) -> None:
    with pytest.raises(UnreadableError, match="not a histogram"):
        run_time_p99s([entry])


def test_the_query_names_the_queues_and_the_matchers() -> None:
    query = run_time_query({"b.c", "a"}, {"cluster": "eu"})
    selector = '{queue=~"a|b\\\\.c",cluster="eu"}'
    assert query == (
        f"sum without (outcome) (rate(bullmq_job_processing_seconds_bucket{selector}[1h]))\n"
        f"or sum without (outcome) (rate(bullmq_job_processing_seconds_sum{selector}[1h]))"
    )
