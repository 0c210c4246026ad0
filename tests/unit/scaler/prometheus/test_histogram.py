from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.prometheus.histogram import buckets_of, p99_of, run_time_p99s, run_time_query
from scaler.prometheus.promql import QueueKey
from service.outcome import UnreadableError

BOUNDS = (0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0, 300.0, inf)


def histogram(seconds: Sequence[float]) -> dict[float, float]:
    return {bound: float(sum(run <= bound for run in seconds)) for bound in BOUNDS}


def p99(*seconds: float) -> float | None:
    return p99_of(buckets_of(histogram(seconds)), sum(seconds))


def test_three_jobs_of_a_hundred_are_the_slowest() -> None:
    known = p99(*[0.05] * 97, *[3.0] * 3)
    assert known == pytest.approx(2.6, abs=0.1)
    assert p99(*[0.05] * 997, *[3.0] * 3) == pytest.approx(0.1, abs=0.05)


@pytest.mark.parametrize("seconds", [31.0, 57.0, 70.0, 290.0])
def test_jobs_that_all_take_as_long_are_not_said_to_take_longer(seconds: float) -> None:
    assert p99(*[seconds] * 1000) == pytest.approx(seconds)
    assert p99_of(buckets_of(histogram([seconds] * 1000))) == pytest.approx(
        60 if seconds < 60 else 300, rel=0.02
    )


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
    assert p99_of(buckets_of(buckets), 0.0) is None


def test_rates_that_do_not_rise_by_a_rounding_are_read() -> None:
    buckets = {1.0: 0.50001, 2.5: 0.5, inf: 0.49999}
    assert p99_of(buckets_of(buckets), 0.4) == pytest.approx(0.8, abs=0.2)


def series(name: str, seconds: Sequence[float], **labels: str) -> list[dict[str, Any]]:
    source = {"prefix": "bull", "queue": name, "job": "oxherd", **labels}
    buckets = [
        {"metric": source | {"le": str(bound)}, "value": [5.0, str(count)]}
        for bound, count in histogram(seconds).items()
    ]
    return [
        *buckets,
        {"metric": source | {"oxherd_measure": "sum"}, "value": [5.0, str(float(sum(seconds)))]},
    ]


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
        {"metric": {"le": 10**400}, "value": [1, "1"]},
        {"metric": {"le": "NaN"}, "value": [1, "1"]},
        {"metric": {"le": "-1"}, "value": [1, "1"]},
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
        f"or label_replace(sum without (outcome) (rate(bullmq_job_processing_seconds_sum{selector}[1h])), "
        '"oxherd_measure", "sum", "", "")\n'
        f"or sum without (outcome) (rate(bullmq_job_processing_seconds{selector}[1h]))"
    )


# --- native histograms --------------------------------------------------------------------------------------

SOURCE = {"prefix": "bull", "queue": "mail", "job": "oxherd"}
MAIL = QueueKey("bull", "mail")


def native(*buckets: tuple[str, str, float], seconds: float = 0.0, **labels: str) -> dict[str, Any]:
    """As Prometheus answers: (lower, upper, attempts) of each bucket that has some."""
    data: dict[str, Any] = {"count": str(sum(count for *_, count in buckets)), "sum": str(seconds)}
    if buckets:
        data["buckets"] = [[0, lower, upper, str(count)] for lower, upper, count in buckets]
    return {"metric": SOURCE | labels, "histogram": [5.0, data]}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (native(("0.9", "1", 99), ("8", "8.7", 1), seconds=103), 1.0),
        (native(("0.9", "1", 97), ("8", "8.7", 3), seconds=117), 8.28),
        (native(("8", "8.7", 3), ("0.9", "1", 97), seconds=117), 8.28),
        (native(("-0.0009", "0.0009", 10), seconds=0), 0.0),
        (native(("-Inf", "0.1", 10), ("60", "300", 10), seconds=700), 69.95),
        (native(("60", "300", 5), ("300", "+Inf", 5), seconds=5000), 300.0),
        (native(("1", "2", -1e-17), ("2", "2.2", 1), seconds=2.1), 2.1),
        (native(seconds=0), None),
    ],
    ids=[
        *("one in a hundred", "three in a hundred", "any order", "below a ms", "bounds of a classic one"),
        *("over the largest bound", "less than none by a rounding", "no attempts"),
    ],
)
def test_a_native_histogram_has_a_quantile(answer: dict[str, Any], expected: float | None) -> None:
    p99s = run_time_p99s([answer])
    assert p99s == ({} if expected is None else {MAIL: pytest.approx(expected, abs=0.01)})


def test_of_both_forms_the_native_one_counts() -> None:
    classic = series("mail", [0.5] * 97 + [61.0] * 3, job="oxherd")
    exact = native(("0.45", "0.5", 97), ("58", "63", 3), seconds=48.5 + 183)
    assert run_time_p99s(classic)[MAIL] == 60
    assert run_time_p99s([*classic, exact])[MAIL] == pytest.approx(61.3, abs=0.1)


@pytest.mark.parametrize(("attempts", "expected"), [(5.0, 57.0), (60.0, 0.5)])
def test_after_a_change_of_the_form_the_longer_part_of_the_hour_counts(
    attempts: float, expected: float
) -> None:
    classic = series("mail", [57.0] * 100, job="oxherd")
    now = native(("0.45", "0.5", attempts), seconds=0.5 * attempts)
    assert run_time_p99s([*classic, now])[MAIL] == pytest.approx(expected, rel=0.01)


def test_exporters_with_different_forms_have_their_own() -> None:
    classic = series("mail", [57.0] * 10, job="oxherd", instance="a")
    other = native(("0.45", "0.5", 10), seconds=5, instance="b")
    video = native(("100", "109", 10), seconds=1050, queue="video")
    assert run_time_p99s([*classic, other, video]) == {
        MAIL: 57.0,
        QueueKey("bull", "video"): pytest.approx(105, rel=0.01),
    }


@pytest.mark.parametrize(
    "entry",
    [
        {"metric": SOURCE, "value": [5.0, "0"]},
        {"metric": SOURCE, "histogram": None},
        {"metric": SOURCE, "histogram": [5.0]},
        {"metric": SOURCE, "histogram": [5.0, "x"]},
        {"metric": SOURCE, "histogram": [5.0, {"count": "1"}]},
        {"metric": SOURCE, "histogram": [5.0, {"sum": "NaN"}]},
        {"metric": SOURCE, "histogram": [5.0, {"sum": "1", "buckets": [[0, "2", "1", "1"]]}]},
        {"metric": SOURCE, "histogram": [5.0, {"sum": "1", "buckets": [[0, "1", "NaN", "1"]]}]},
        {"metric": SOURCE, "histogram": [5.0, {"sum": "1", "buckets": [[0, "1", "2", "Inf"]]}]},
        {"metric": SOURCE, "histogram": [5.0, {"sum": "1", "buckets": [[0, "1", "2"]]}]},
        {"metric": SOURCE, "histogram": [5.0, {"sum": "1", "buckets": 7}]},
        {"metric": SOURCE, "histogram": [5.0, {"sum": "1", "buckets": [[0, 10**400, "2", "1"]]}]},
        {"metric": SOURCE, "histogram": [5.0, {"sum": "1", "buckets": [[0, "Inf", "Inf", "1"]]}]},
    ],
)
def test_what_is_no_native_histogram_is_an_error(entry: dict[str, Any]) -> None:
    """So is the 0 that Prometheus 2.42 makes of one where a label is added."""
    with pytest.raises(UnreadableError, match="not a histogram"):
        run_time_p99s([entry])


def test_more_attempts_than_a_number_can_be_are_none() -> None:
    assert run_time_p99s([native(("0", "1", 1e308), ("1", "2", 1e308))]) == {}


def test_so_many_attempts_that_a_bucket_times_them_is_more_than_a_number_can_be() -> None:
    entries = [
        {"metric": SOURCE | {"le": bound}, "value": [5.0, count]}
        for bound, count in (("1", "5"), ("10", "1e308"), ("+Inf", "1e308"))
    ]
    assert run_time_p99s(entries) == {MAIL: pytest.approx(9.91)}


buckets = st.lists(
    st.tuples(st.floats(0.001, 1000), st.integers(0, 1000)), min_size=1, max_size=30, unique_by=lambda b: b[0]
)


@given(buckets)
def test_the_quantile_is_in_the_bucket_that_has_it(found: list[tuple[float, int]]) -> None:
    ends = sorted(found)
    whole = [(f"{end / 1.09!r}", repr(end), float(count)) for end, count in ends]
    known = run_time_p99s([native(*whole, seconds=sum(end * count for end, count in ends))])
    attempts = [end for end, count in ends for _ in range(count)]
    if not attempts:
        assert known == {}
        return
    exact = attempts[ceil(0.99 * len(attempts)) - 1]
    assert exact / 1.0901 <= known[MAIL] <= exact * 1.0001
