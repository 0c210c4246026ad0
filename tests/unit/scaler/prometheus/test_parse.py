"""Answers of Prometheus, from the usual one to garbage, which never becomes a number."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import Missing, QueueSample
from scaler.prometheus.parse import QueryError, Reading, finite_number, matrix, read_answer
from scaler.prometheus.promql import OURS, QueueKey
from scaler.prometheus.settings import PrometheusSettings, QuerySettings
from service.outcome import UnreadableError

Json = dict[str, Any]

NOW = 1_000_000.0  # Prometheus's clock
ASKED = 2_000_000.0  # ours, which is far ahead
MAIL = QueueKey("bull", "mail")
FIGURES = {"waiting": "3", "active": "2", "completed": "10", "failed": "1", "added": "16", "due": "0"}
A = {"job": "oxherd", "instance": "a:9877"}
B = {"job": "oxherd", "instance": "b:9877"}
REPLICAS = PrometheusSettings().replica_labels


def series(measure: str, value: str, labels: Mapping[str, str] = A, *, queue: str = "mail") -> Json:
    metric = {"oxherd_measure": measure, "prefix": "bull", "queue": queue, **labels}
    return {"metric": metric, "value": [NOW, value]}


def told_by(labels: Mapping[str, str] = A, *, age: float = 3.0, **figures: str | None) -> list[Json]:
    """One exporter's series of the queue `mail`; a figure that is None is not among them."""
    values = {**FIGURES, "timestamp": str(NOW - age), **figures}
    return [series(measure, value, labels) for measure, value in values.items() if value is not None]


def up(value: str = "1") -> Json:
    return {"metric": {"oxherd_measure": "up", "__name__": "bullmq_up", **A}, "value": [NOW, value]}


def answer(*result: Json, **more: Any) -> Json:
    return {"status": "success", "data": {"resultType": "vector", "result": list(result)}, **more}


def read(*result: Json, queries: QuerySettings = OURS, **more: Any) -> Reading:
    return read_answer(answer(*result), queries, asked_at=ASKED, replica_labels=REPLICAS, **more)


def mail(*result: Json, **more: Any) -> QueueSample | Missing:
    return read(*result, **more).of(MAIL)


def kind(one: QueueSample | Missing) -> str:
    return one.kind if isinstance(one, Missing) else "sample"


def test_a_sample_has_what_the_series_say_and_its_scrapes_time_by_our_clock() -> None:
    assert mail(*told_by(), up()) == QueueSample(
        at=ASKED - 3, waiting=3, active=2, completed=10, failed=1, added=16, due=0
    )


def test_what_has_no_series_is_none() -> None:
    told = mail(*told_by(completed=None, failed=None, added=None, due=None))
    assert told == QueueSample(at=ASKED - 3, waiting=3, active=2)


def test_queues_are_told_apart_by_prefix_and_name() -> None:
    other = [copy.deepcopy(one) for one in told_by(waiting="7")]
    for one in other:
        one["metric"]["prefix"] = "jobs"
    told = read(*told_by(), *other)
    assert list(told.samples) == [MAIL, ("jobs", "mail")]
    found = told.of(QueueKey("jobs", "mail"))
    assert isinstance(found, QueueSample)
    assert found.waiting == 7


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ((), "is the exporter up"),
        ((up("0"),), "could not read all queues"),
        ((up("1"),), "knows no such queue"),
        ((up("1"), up("0")), "could not read all queues"),
    ],
)
def test_a_queue_without_series_is_missing_and_says_why(result: tuple[Json, ...], why: str) -> None:
    told = mail(*result)
    assert isinstance(told, Missing)
    assert (told.kind, told.message[:10]) == ("empty", "bull:mail:")
    assert why in told.message


@pytest.mark.parametrize("gone", ["waiting", "active", "timestamp"])
def test_what_a_sample_cannot_be_without(gone: str) -> None:
    told = mail(*(one for one in told_by() if one["metric"]["oxherd_measure"] != gone))
    assert isinstance(told, Missing)
    assert told.kind == "empty"
    assert gone in told.message


@pytest.mark.parametrize("measure", ["waiting", "active", "timestamp", "completed", "due"])
@pytest.mark.parametrize(
    "value",
    [
        "NaN",
        "+Inf",
        "-Inf",
        "-1",
        "",
        "x",
        "1_0",
        " 1",
        "1 ",
        "0x10",
        "\u0661",
        None,
        3,
        3.0,
        True,
        [],
        "1e999",
    ],
)
def test_what_is_no_number_of_jobs_makes_the_queue_missing(measure: str, value: Any) -> None:
    result = told_by()
    for one in result:
        if one["metric"]["oxherd_measure"] == measure:
            one["value"][1] = value
    told = read(*result, *(series(m, v, queue="video") for m, v in {**FIGURES, "timestamp": "5"}.items()))
    assert kind(told.of(MAIL)) == "invalid"
    assert kind(told.of(QueueKey("bull", "video"))) == "sample"


@pytest.mark.parametrize("value", [str(NOW * 1000), str(NOW + 61)])
def test_a_timestamp_of_the_future_is_none(value: str) -> None:
    told = mail(*told_by(timestamp=value))
    assert kind(told) == "invalid"


def test_a_timestamp_may_be_a_little_ahead() -> None:
    told = mail(*told_by(age=-0.5))
    assert isinstance(told, QueueSample)
    assert told.at == ASKED + 0.5


@pytest.mark.parametrize(
    ("ours", "before", "ahead"),
    [
        (NOW - 0.01, 0.0, 0.0),
        (NOW + 0.9, 0.0, 0.0),
        (NOW - 30, 0.0, -30.0),
        (NOW - 30.5, -30.0, -30.0),
        (NOW, -30.0, 0.0),
    ],
)
def test_a_scrape_has_one_time_by_our_clock_whenever_it_is_seen(
    ours: float, before: float, ahead: float
) -> None:
    told = read_answer(answer(*told_by(age=3.0)), asked_at=ours, ahead=before)
    sample = told.of(MAIL)
    assert isinstance(sample, QueueSample)
    assert (told.ahead, sample.at) == (ahead, NOW - 3 + ahead)


def test_an_empty_answer_tells_nothing_of_the_clock() -> None:
    assert read_answer(answer(), asked_at=ASKED, ahead=5.0).ahead == 5.0


@pytest.mark.parametrize(("text", "value"), [("3", 3.0), ("1e+06", 1e6), ("0.25", 0.25), ("-2", -2.0)])
def test_numbers_as_prometheus_writes_them(text: str, value: float) -> None:
    assert finite_number(text) == value


# --- whole answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([], "invalid"),
        (None, "invalid"),
        ("success", "invalid"),
        ({}, "invalid"),
        ({"status": "success"}, "invalid"),
        ({"status": "success", "data": []}, "invalid"),
        ({"status": "success", "data": {"resultType": "vector"}}, "invalid"),
        ({"status": "success", "data": {"resultType": "vector", "result": {}}}, "invalid"),
        ({"status": "success", "data": {"resultType": "matrix", "result": []}}, "invalid"),
        ({"status": "success", "data": {"resultType": "scalar", "result": [NOW, "1"]}}, "invalid"),
        ({"status": "success", "data": {"resultType": "string", "result": [NOW, "x"]}}, "invalid"),
        ({"status": "error", "errorType": "timeout", "error": "query timed out"}, "timeout"),
        ({"status": "error", "errorType": "internal", "error": "x"}, "error"),
        ({"status": "error"}, "error"),
        (answer(*told_by(), warnings=["partial response"]), "error"),
        (answer(*told_by(), warnings="odd"), "error"),
        (answer({"metric": {}, "value": [NOW, "1"]}), "invalid"),
        (answer({"metric": {"oxherd_measure": "other", **A}, "value": [NOW, "1"]}), "invalid"),
        (answer({"metric": {"oxherd_measure": "waiting", **A}, "value": [NOW, "1"]}), "invalid"),
        (answer({"metric": {"oxherd_measure": "waiting", "queue": 7}, "value": [NOW, "1"]}), "invalid"),
        (answer({"metric": {"oxherd_measure": "waiting", "queue": []}, "value": [NOW, "1"]}), "invalid"),
        (
            answer({"metric": {"oxherd_measure": "waiting", "queue": "q", "x": 1}, "value": [NOW, "1"]}),
            "invalid",
        ),
        (answer({**series("waiting", "1"), "value": [NOW]}), "invalid"),
        (answer(*told_by(), {**series("waiting", "1"), "value": [5, "1"]}), "invalid"),
        (answer({**series("waiting", "1"), "value": ["1", "1"]}), "invalid"),
        (answer({**series("waiting", "1"), "value": [True, "1"]}), "invalid"),
        (answer({**series("waiting", "1"), "value": "12"}), "invalid"),
        (answer({"metric": series("waiting", "1")["metric"], "histogram": [NOW, {}]}), "invalid"),
        (answer({"metric": series("waiting", "1")["metric"], "values": [[NOW, "1"]]}), "invalid"),
    ],
)
def test_what_is_no_answer_to_our_query(document: Any, expected: str) -> None:
    with pytest.raises(UnreadableError) as told:
        read_answer(document, asked_at=ASKED)
    assert told.value.kind == expected


def test_a_warning_that_is_only_an_information_is_no_problem() -> None:
    told = read_answer(answer(*told_by(), infos=["x"], warnings=[]), asked_at=ASKED).of(MAIL)
    assert kind(told) == "sample"


def test_a_refused_query_is_told_from_a_server_that_is_ill() -> None:
    with pytest.raises(QueryError, match="parse error"):
        read_answer({"status": "error", "errorType": "bad_data", "error": "1:1: parse error"}, asked_at=ASKED)


def test_what_prometheus_says_is_one_short_line() -> None:
    with pytest.raises(UnreadableError) as told:
        read_answer({"status": "error", "error": "a\nb" * 1000}, asked_at=ASKED)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 400


# --- several exporters --------------------------------------------------------------------------------------


def test_of_two_exporters_of_a_redis_the_one_scraped_last_is_believed_and_none_is_added() -> None:
    told = read(*told_by(A, age=4.0, waiting="30"), *told_by(B, age=1.0, waiting="31", completed="2"))
    sample = told.of(MAIL)
    assert isinstance(sample, QueueSample)
    assert (sample.waiting, sample.completed, sample.at) == (31, 2, ASKED - 1)


def test_the_one_believed_before_is_kept_though_the_other_is_fresher() -> None:
    kept = read(*told_by(A)).origins
    for age in (4.0, 50.0):
        sample = mail(*told_by(A, age=age), *told_by(B, age=1.0, completed="2"), kept=kept)
        assert isinstance(sample, QueueSample)
        assert (sample.at, sample.completed) == (ASKED - age, 10)


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "a minute behind"])
def test_the_totals_of_another_exporter_do_not_continue(gone: bool) -> None:  # noqa: FBT001
    kept = read(*told_by(A)).origins
    old = [] if gone else told_by(A, age=62.0)
    told = read(*old, *told_by(B, age=1.0), kept=kept)
    assert told.of(MAIL) == QueueSample(at=ASKED - 1, waiting=3, active=2, due=0)
    after = mail(*told_by(B, age=1.0), kept=told.origins)
    assert isinstance(after, QueueSample)
    assert after.completed == 10


@pytest.mark.parametrize("label", ["job", "cluster", "namespace"])
def test_two_deployments_with_a_queue_of_the_same_name_are_not_believed(label: str) -> None:
    told = mail(*told_by({**A, label: "one"}), *told_by({**B, label: "two"}))
    assert isinstance(told, Missing)
    assert told.kind == "duplicate"
    assert f'{label}="one"' in told.message
    assert f'{label}="two"' in told.message


def test_a_deployment_that_was_renamed_a_minute_ago_is_forgotten() -> None:
    told = mail(*told_by({**A, "job": "old"}, age=70.0, waiting="9"), *told_by(A, age=1.0))
    assert isinstance(told, QueueSample)
    assert told.waiting == 3


def test_the_same_series_twice_is_no_number() -> None:
    told = mail(*told_by(), series("waiting", "4"))
    assert kind(told) == "duplicate"


# --- other exporters ----------------------------------------------------------------------------------------


def test_other_labels_name_queue_and_prefix() -> None:
    queries = QuerySettings(
        waiting="w", active="a", queue_label="name", prefix_label=None, default_prefix="jobs"
    )
    result = [
        {"metric": {"oxherd_measure": measure, "name": "mail"}, "value": [NOW, value]}
        for measure, value in {"waiting": "3", "active": "0", "timestamp": str(NOW)}.items()
    ]
    told = read(*result, queries=queries).of(QueueKey("jobs", "mail"))
    assert told == QueueSample(at=ASKED, waiting=3, active=0)


# --- ranges -------------------------------------------------------------------------------------------------


def test_a_range_is_its_finite_points() -> None:
    values = [[1, "1"], [2.5, "NaN"], [3, "+Inf"], [4, "2e3"]]
    document = {
        "status": "success",
        "data": {"resultType": "matrix", "result": [{"metric": A, "values": values}]},
    }
    assert matrix(document) == {frozenset(A.items()): [(1.0, 1.0), (4.0, 2000.0)]}


@pytest.mark.parametrize(
    "result",
    [
        None,
        [1],
        [{"metric": {}}],
        [{"metric": {}, "values": [[1]]}],
        [{"metric": {}, "values": [["x", "y"]]}],
    ],
)
def test_what_is_no_range(result: Any) -> None:
    with pytest.raises(UnreadableError):
        matrix({"status": "success", "data": {"resultType": "matrix", "result": result}})


# --- garbage ------------------------------------------------------------------------------------------------

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANYTHING = st.recursive(
    LEAVES,
    lambda deeper: st.lists(deeper, max_size=4) | st.dictionaries(st.text(max_size=8), deeper, max_size=4),
)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON document, from the top to its leaves."""
    inner = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


GOOD = answer(*told_by(A), up())
PLACES = places(GOOD)[1:]


@given(place=st.sampled_from(PLACES), rubbish=ANYTHING)
def test_an_answer_with_garbage_in_one_place_tells_the_truth_or_nothing(
    place: tuple[Any, ...], rubbish: Any
) -> None:
    document = copy.deepcopy(GOOD)
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = rubbish
    try:
        told = read_answer(document, asked_at=ASKED, replica_labels=REPLICAS)
    except UnreadableError:
        return
    texts = {one["value"][1] for one in document["data"]["result"] if isinstance(one["value"][1], str)}
    said = {finite_number(text) for text in texts if is_number(text)}
    for sample in told.samples.values():
        if isinstance(sample, QueueSample):
            figures = [getattr(sample, one.name) for one in fields(QueueSample) if one.name != "at"]
            assert {figure for figure in figures if figure is not None} <= said
            assert sample.at <= ASKED + 60


def is_number(text: str) -> bool:
    try:
        return finite_number(text) >= 0
    except ValueError:
        return False


@given(ANYTHING)
def test_garbage_is_never_a_sample(document: Any) -> None:
    with pytest.raises(UnreadableError):
        read_answer(document, asked_at=ASKED)
    with pytest.raises(UnreadableError):
        matrix(document)


@given(st.lists(ANYTHING, min_size=1, max_size=3))
def test_garbage_among_the_series_is_never_a_sample(result: list[Any]) -> None:
    with pytest.raises(UnreadableError):
        read_answer(answer(*told_by(), *result), asked_at=ASKED)
