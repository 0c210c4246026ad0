"""The usual answer as columns, compared with the same read series by series."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import Missing, QueueSample
from scaler.prometheus.parse import Reading, read_answer
from scaler.prometheus.promql import DEFAULT_QUERIES, QueueKey
from scaler.prometheus.series_identity import SeriesIdentities
from service.outcome import UnreadableError

NOW = 1_800_000_000.0
FIGURES: list[dict[str, str]] = [
    *({"__name__": "bullmq_job_count", "state": state} for state in ("waiting", "prioritized", "active")),
    *(
        {"__name__": f"bullmq_{name}"}
        for name in (
            *("job_completed_total", "job_failed_total", "job_added_total", "queue_oldest_waiting_seconds"),
            *("queue_delayed_due", "queue_busy_seconds_total"),
            *("queue_rate_limit_ttl_seconds", "queue_concurrency_limit", "job_stalled_total"),
        )
    ),
    *(
        {"__name__": f"bullmq_job_processing_seconds_{part}", "outcome": outcome}
        for part in ("sum", "count")
        for outcome in ("completed", "failed")
    ),
    *(
        {"oxherd_measure": f"native_{part}", "outcome": outcome}
        for part in ("sum", "count")
        for outcome in ("completed", "failed")
    ),
]
PLAIN = st.one_of(
    st.integers(0, 10**12).map(str), st.floats(0, 1e15).map(repr), st.sampled_from(["-0", "1e+06", "0.1"])
)
ODD_VALUES = ["NaN", "+Inf", "-1", "1_0", " 3", "3\n", "", "0x1", "1e400", "1e308", "0.5", 3, None]
ODD_VALUES.append("\N{ARABIC-INDIC DIGIT ONE}")
ODD = st.sampled_from(ODD_VALUES)


def series(labels: dict[str, Any], value: object, time: object = NOW) -> dict[str, Any]:
    return {"metric": labels, "value": [time, value]}


def answer(result: list[Any]) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def of_queue(draw: st.DrawFn, name: str, instance: str) -> Iterator[dict[str, Any]]:
    queue = {"prefix": "bull", "queue": name, "instance": instance, "job": "oxherd"}
    yield series(
        {"oxherd_measure": "timestamp", "state": "active", **queue}, repr(NOW - draw(st.integers(0, 50)))
    )
    for number, figure in enumerate(FIGURES):
        if number < 3 or draw(st.booleans()):
            yield series(figure | queue, draw(PLAIN))
    if draw(st.booleans()):
        yield series({"__name__": "bullmq_queue_paused", **queue}, draw(st.sampled_from(["0", "1"])))


@st.composite
def usual_answers(draw: st.DrawFn) -> list[dict[str, Any]]:
    exporter = {"instance": "a", "job": "oxherd"}
    result = [
        series({"oxherd_measure": "up", **exporter}, draw(st.sampled_from(["0", "1"]))),
        series({"oxherd_measure": "started", **exporter}, "1700000000"),
        series({"oxherd_measure": "deployment", "redis_deployment": "d", **exporter}, "1"),
    ]
    for number in range(draw(st.integers(0, 4))):
        result += of_queue(draw, f"queue{number}", "a")
    return draw(st.permutations(result)) if draw(st.booleans()) else result


@st.composite
def odd_answers(draw: st.DrawFn) -> list[Any]:
    result: list[Any] = draw(usual_answers())
    place = draw(st.integers(0, len(result) - 1))
    labels = result[place]["metric"]
    match draw(st.integers(0, 8)):
        case 0:
            result[place]["value"][1] = draw(ODD)
        case 1:
            result.append(dict(result[place]))
        case 2:
            del result[place]
        case 3:
            result += of_queue(draw, "queue0", "b")
        case 4:
            result[place]["value"][0] = draw(st.sampled_from([NOW + 1, True, None, "1", 10**400]))
        case 5:
            result[place] = draw(
                st.sampled_from([{}, {"metric": {}, "value": [NOW, "1"]}, None, {"metric": labels}])
            )
        case 6:
            result[place] = series(labels, "1") | {
                "value": draw(st.sampled_from(["12", [NOW], [NOW, "1", "2"], {}]))
            }
        case 7:
            result[place]["metric"] = labels | {draw(st.sampled_from(["queue", "state", "x"])): draw(ODD)}
        case _:
            result.append(
                series({"__name__": "bullmq_queue_paused", "prefix": "bull", "queue": "queue0"}, "0.5")
            )
    return result


def outcome(result: list[Any], identities: SeriesIdentities, before: Reading | None) -> Any:
    try:
        reading = read_answer(
            answer(result), queried_at=NOW + 0.25, answered_at=NOW + 0.5, before=before, identities=identities
        )
    except UnreadableError as error:
        return error.kind, str(error)
    return reading


@given(st.lists(st.one_of(usual_answers(), odd_answers()), min_size=1, max_size=3))
def test_both_ways_have_the_same_result(answers: list[list[Any]]) -> None:
    known, alone = SeriesIdentities(DEFAULT_QUERIES), SeriesIdentities(DEFAULT_QUERIES)
    before: Reading | None = None
    for result in answers:
        found = outcome(result, known, before)
        with patch("scaler.prometheus.parse.read_usual", return_value=None):
            assert found == outcome(result, alone, before)
        before = found if isinstance(found, Reading) else before


@pytest.mark.parametrize("odd", ODD_VALUES)
def test_each_figure_may_be_odd(odd: object) -> None:
    queue = {"prefix": "bull", "queue": "mail", "instance": "a"}
    plain = [{"oxherd_measure": "timestamp"}, *FIGURES, {"__name__": "bullmq_queue_paused"}]
    values = [repr(NOW), *["2"] * len(FIGURES), "1"]
    for place in range(len(plain)):
        result = [series(figure | queue, value) for figure, value in zip(plain, values, strict=True)]
        result[place]["value"][1] = odd
        found = outcome(result, SeriesIdentities(DEFAULT_QUERIES), None)
        with patch("scaler.prometheus.parse.read_usual", return_value=None):
            assert found == outcome(result, SeriesIdentities(DEFAULT_QUERIES), None)


def mail(instance: str, time: float, *, scraped: float = NOW) -> list[dict[str, Any]]:
    queue = {"prefix": "bull", "queue": "mail", "instance": instance}
    timestamp = series({"oxherd_measure": "timestamp", **queue}, repr(scraped), time)
    return [timestamp, *(series(figure | queue, "2", time) for figure in FIGURES)]


@pytest.mark.parametrize(
    "result",
    [
        mail("a", NOW) + mail("b", NOW),
        mail("b", NOW) + mail("a", NOW, scraped=NOW - 5),
        mail("a", NOW) + mail("b", NOW + 1),
        mail("a", NOW, scraped=NOW + 59),
        mail("a", NOW, scraped=NOW + 60),
        mail("a", NOW, scraped=0.0),
        mail("a", NOW)[1:],
        mail("a", NOW)[:3],
    ],
)
def test_other_answers_are_left_to_the_way_that_says_why(result: list[Any]) -> None:
    found = outcome(result, SeriesIdentities(DEFAULT_QUERIES), None)
    with patch("scaler.prometheus.parse.read_usual", return_value=None):
        assert found == outcome(result, SeriesIdentities(DEFAULT_QUERIES), None)


@given(usual_answers())
def test_a_usual_answer_is_not_read_series_by_series(result: list[Any]) -> None:
    identities = SeriesIdentities(DEFAULT_QUERIES)
    with patch("scaler.prometheus.parse._table", side_effect=AssertionError):
        for _ in range(2):
            reading = outcome(result, identities, None)
            assert isinstance(reading, Reading)
            assert not any(isinstance(sample, Missing) for sample in reading.samples.values())


def test_series_with_the_same_values_in_other_labels_are_not_mixed_up() -> None:
    identities = SeriesIdentities(DEFAULT_QUERIES)
    first = {"__name__": "bullmq_queue_paused", "prefix": "x", "queue": "mail", "job": "a"}
    second = {"__name__": "bullmq_queue_paused", "prefix": "x", "queue": "mail", "instance": "a"}
    assert identities.of_all([first, second, first])[0].rest == frozenset({("job", "a")})
    assert [identity.rest for identity in identities.of_all([second, first])] == [
        frozenset({("instance", "a")}),
        frozenset({("job", "a")}),
    ]


@pytest.mark.parametrize(("outcomes", "total"), [(("completed",), 4.0), (("completed", "failed"), 8.0)])
def test_run_times_are_those_of_the_outcomes_that_there_are(outcomes: tuple[str, ...], total: float) -> None:
    queue = {"prefix": "bull", "queue": "mail"}
    result = [series({"oxherd_measure": "timestamp", "state": "active", **queue}, repr(NOW))]
    result += [series(figure | queue, "1") for figure in FIGURES[:3]]
    result += [
        series({"__name__": "bullmq_job_processing_seconds_sum", "outcome": outcome, **queue}, "4")
        for outcome in outcomes
    ]
    reading = outcome(result, SeriesIdentities(DEFAULT_QUERIES), None)
    sample = reading.samples[QueueKey("bull", "mail")]
    assert isinstance(sample, QueueSample)
    assert (sample.duration_sum, sample.duration_count, sample.waiting) == (total, None, 2.0)
